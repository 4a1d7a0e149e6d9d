#include "program.h"

#include <algorithm>
#include <cstring>

#include "failure.h"
#include "moves.h"

namespace edgekit {

namespace {

// Below this, waking the other threads and waiting for them costs more than they save.
constexpr double kLeastParallelNs = 2000;

bool is_worth_sharing(const invocation& made, const choice& chosen) {
  if (chosen.kernel && !(chosen.kernel->flags & kParts)) return false;
  const double macs_per_ns = !chosen.kernel ? 10 : chosen.kernel->isa == Isa::ref ? 4 : 100;
  return static_cast<double>(made.macs) / macs_per_ns + static_cast<double>(made.bytes) / 8 > kLeastParallelNs;
}

template <void (*run)(const copy_args&, const part&)>
void run_copy(const void* args, const part& part) {
  run(*static_cast<const copy_args*>(args), part);
}

// The form that the kernel is told to expect: where either will do, the one that turns fewer bytes.
std::uint8_t wanted_sign(sign_rule rule, const invocation& made, const std::vector<std::uint8_t>& signs) {
  if (rule != sign_rule::shared) return rule == sign_rule::biased ? 0x80 : 0;
  u64 bytes[2] = {0, 0};
  for (std::size_t p = 0; p < signs.size(); ++p) {
    const pointer& own = made.pointers[p];
    if (own.view.element == plan::type::s8)
      bytes[signs[p] ? 1 : 0] += range_of(own.touched).end - range_of(own.touched).begin;
  }
  return bytes[1] > bytes[0] ? 0x80 : 0;
}

std::uint8_t sign_where(const invocation& made, const std::vector<std::uint8_t>& signs, bool written) {
  for (std::size_t p = 0; p < signs.size(); ++p)
    if (made.pointers[p].written == written && made.pointers[p].view.element == plan::type::s8) return signs[p];
  return 0;
}

}  // namespace

u32 program_writer::add_args(const void* args, std::size_t bytes) {
  const std::size_t at = (own_.args.size() + 15) / 16 * 16;
  if (at + bytes > 0xffffffffu) throw failure(EK_UNSUPPORTED, "The plan has too many operations.");
  own_.args.resize(at + bytes);
  std::memcpy(own_.args.data() + at, args, bytes);
  return static_cast<u32>(at);
}

void program_writer::add_step(u32 operation, function run, u32 args, bool parallel, bool concurrent) {
  const bool in_order = all_serial_ && !parallel;  // on one thread, one after the other
  const bool apart = concurrent && begins_group_ && !uses_temporary_;
  const bool waits = !own_.steps.empty() && !in_order && !apart;
  if (!concurrent) begins_group_ = waits || own_.steps.empty();
  if (waits) {
    all_serial_ = true;
    uses_temporary_ = false;
  }
  all_serial_ = all_serial_ && !parallel;
  own_.steps.push_back({run, args, operation, parallel, waits});
}

void program_writer::add_patch(u32 at, const tensor& view) {
  const u64 first = view.first;
  switch (view.kind) {
    case plan::storage::arena:
      return own_.patches.push_back({at, place::arena, 0, view.region + first});
    case plan::storage::state:
      return own_.patches.push_back({at, place::state, 0, view.region + first});
    case plan::storage::constant:
      return own_.patches.push_back({at, place::constant, 0, view.region + first});
    case plan::storage::input:
      return own_.ports.push_back({at, place::input, static_cast<u32>(view.region), first});
    case plan::storage::output:
      return own_.ports.push_back({at, place::output, static_cast<u32>(view.region), first});
  }
}

u64 program_writer::temporary(const tensor& touched) {
  const byte_range range = range_of(touched);
  const u64 offset = temporary_;
  temporary_ += (range.end - range.begin + plan::kSlack + plan::kAlignment - 1) / plan::kAlignment * plan::kAlignment;
  own_.temporary_bytes = std::max<std::size_t>(own_.temporary_bytes, temporary_);
  return offset;
}

// All bytes that are read, gaps too, turned on their way into temporary memory.
void program_writer::read_converted(u32 operation, const pointer& own, u32 at) {
  const byte_range touched = range_of(own.touched);
  const auto length = static_cast<i64>(touched.end - touched.begin);
  copy_args turn = {nullptr, nullptr, {1, {length}, {{1}, {1}}}, 1, 0x80};
  const u64 offset = temporary(own.touched);
  const u32 args = add_args(&turn, sizeof turn);
  add_patch(args + offsetof(copy_args, x), own.touched);
  own_.patches.push_back({args + static_cast<u32>(offsetof(copy_args, out)), place::temporary, 0, offset});
  own_.patches.push_back({at, place::temporary, 0, offset + own.view.first - own.touched.first});
  add_step(operation, run_copy<copy_move>, args, length > (1 << 14), false);
}

// The elements that were written into temporary memory, turned on their way to where they belong.
void program_writer::write_converted(u32 operation, const pointer& own, u64 offset) {
  copy_args turn = {};
  set_steps(turn.along, 0, own.view, 1);
  set_steps(turn.along, 1, own.view, 1);
  turn.along = merged(turn.along, 1);
  turn.bytes = 1;
  turn.flip = 0x80;
  const u32 args = add_args(&turn, sizeof turn);
  own_.patches.push_back({args + static_cast<u32>(offsetof(copy_args, x)), place::temporary, 0, offset});
  add_patch(args + offsetof(copy_args, out), own.view);
  add_step(operation, run_copy<copy_move>, args, elements(own.view) > (1 << 14), false);
}

void program_writer::add(u32 operation, const invocation& made, const choice& chosen,
                         const std::vector<std::uint8_t>& signs) {
  const sign_rule rule = sign_rule_of(made, chosen);
  const std::uint8_t wanted = wanted_sign(rule, made, signs);
  const auto differs = [&](std::size_t p) {
    return rule != sign_rule::any && made.pointers[p].view.element == plan::type::s8 && signs[p] != wanted;
  };
  temporary_ = 0;
  bool concurrent = (own_.plan.operations[operation].flags & plan::kConcurrent) != 0;
  for (std::size_t p = 0; p < signs.size(); ++p) concurrent = concurrent && !differs(p);
  invocation own = made;
  if (own.flip != kNowhere)
    own.args[own.flip] =
        rule == sign_rule::any ? sign_where(made, signs, false) ^ sign_where(made, signs, true) : wanted;
  if (own.value_flip != kNowhere) own.args[own.value_flip] = sign_where(made, signs, true);
  if (own.rows != kNowhere) {
    own_.row_offsets.push_back(made.row_offsets);
    const i64* rows = own_.row_offsets.back().data();
    std::memcpy(own.args + own.rows, &rows, sizeof rows);
  }
  const u32 args = add_args(own.args, own.args_bytes);
  if (own.failed != kNowhere) own_.failed.push_back(args + static_cast<u32>(own.failed));
  std::vector<std::pair<const pointer*, u64>> after;
  for (std::size_t p = 0; p < signs.size(); ++p) {
    const pointer& one = made.pointers[p];
    const u32 at = args + static_cast<u32>(one.at);
    if (!differs(p)) {
      add_patch(at, one.view);
    } else if (!one.written) {
      read_converted(operation, one, at);
    } else {
      const u64 offset = temporary(one.view);
      own_.patches.push_back({at, place::temporary, 0, offset});
      after.push_back({&one, offset});
    }
  }
  const function run = chosen.kernel ? chosen.kernel->call : made.move;
  const std::size_t scratch = chosen.kernel ? chosen.kernel->scratch(own.args) : made.scratch_bytes;
  own_.scratch_bytes = std::max(own_.scratch_bytes, scratch);
  add_step(operation, run, args, is_worth_sharing(made, chosen), concurrent);
  for (const auto& [one, offset] : after) write_converted(operation, *one, offset);
  uses_temporary_ = uses_temporary_ || temporary_ > 0;
}

}  // namespace edgekit
