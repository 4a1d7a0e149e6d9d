#include "model.h"

#include <algorithm>
#include <cstring>

#include "failure.h"
#include "program.h"
#include "signs.h"

namespace edgekit {

namespace {

constexpr std::size_t kLine = plan::kAlignment;

std::size_t lines(std::size_t bytes) {
  return (bytes + kLine - 1) / kLine * kLine;
}

Isa best_isa() {
  Isa best = Isa::ref;
  for (const Isa isa : kAllIsas)
    if (isa_flags() & bit(isa)) best = isa;
  return best;
}

// Packs the weights of all kernels into one block.
void pack(model& own, std::vector<invocation>& calls, const std::vector<choice>& choices) {
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < calls.size(); ++i)
    if (choices[i].kernel && calls[i].packed != kNowhere) bytes += lines(choices[i].kernel->packed(calls[i].args));
  if (bytes == 0) return;
  own.weights = block(own.allocator, bytes + plan::kSlack);
  unsigned char* to = own.weights.data();
  std::memset(to, 0, own.weights.size());
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if (!choices[i].kernel || calls[i].packed == kNowhere || !(choices[i].kernel->flags & kPacked)) continue;
    choices[i].kernel->pack(calls[i].args, to);
    std::memcpy(calls[i].args + calls[i].packed, &to, sizeof to);
    to += lines(choices[i].kernel->packed(calls[i].args));
  }
}

bool computes_nothing(const plan_view& plan, const plan::operation& op) {
  for (u32 i = 0; i < op.outputs; ++i)
    if (elements(plan.tensors[plan.output(op, i)]) != 0) return false;
  return true;
}

void say_what_is_slow(const model& own, const plan::operation& op, const choice& chosen) {
  if (own.isa == Isa::ref || !chosen.kernel || chosen.kernel->isa != Isa::ref || chosen.reason.empty()) return;
  own.say(named(own.plan, op) + " runs in " + chosen.kernel->function + "; " + chosen.reason + ".");
}

void say_what_it_needs(const model& own) {
  const plan::header& head = *own.plan.head;
  own.say(std::to_string(own.plan.operation_count()) + " operations for " + name(own.isa) + "; bytes: packed weights " +
          std::to_string(own.weights.size()) + ", and for each context arena " + std::to_string(head.arena_bytes) +
          ", state " + std::to_string(head.state_bytes) + ", operands in another form " +
          std::to_string(own.temporary_bytes) + ", scratch of each thread " + std::to_string(own.scratch_bytes) + ".");
}

}  // namespace

void load(model& own, const void* data, std::size_t bytes, const ek_model_options& options) {
  own.allocator = options.allocator;
  own.log = options.log;
  own.log_user = options.log_user;
  const std::optional<Isa> forced = forced_isa(options.isa);
  own.isa = forced.value_or(best_isa());
  own.plan = verified(data, bytes);
  if (own.plan.head->minor > plan::kMinor)
    own.say("The file is of format " + std::to_string(plan::kMajor) + "." + std::to_string(own.plan.head->minor) +
            ", newer than the " + std::to_string(plan::kMajor) + "." + std::to_string(plan::kMinor) +
            " of this library; nothing that it lacks is used.");
  std::vector<invocation> calls;
  std::vector<choice> choices;
  std::vector<u32> operations;
  for (u32 i = 0; i < own.plan.operation_count(); ++i) {
    const plan::operation& op = own.plan.operations[i];
    invocation made = make_call(own.plan, op);
    own.notes.push_back({"", "", 0});
    if (computes_nothing(own.plan, op)) continue;
    choices.push_back(select(made, forced));
    const choice& chosen = choices.back();
    say_what_is_slow(own, op, chosen);
    own.notes.back() = {chosen.kernel ? chosen.kernel->function : made.name, chosen.reason, made.macs};
    operations.push_back(i);
    calls.push_back(std::move(made));
  }
  pack(own, calls, choices);
  const auto signs = signs_of(calls, choices);
  program_writer writer(own);
  for (std::size_t i = 0; i < calls.size(); ++i) writer.add(operations[i], calls[i], choices[i], signs[i]);
  say_what_it_needs(own);
}

}  // namespace edgekit
