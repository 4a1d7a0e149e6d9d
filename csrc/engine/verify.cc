#include "verify.h"

#include <cmath>
#include <cstring>

#include "failure.h"

namespace edgekit {

namespace {

using plan::header;
using plan::operation;
using plan::span;
using plan::storage;

constexpr i64 kMostElements = i64{1} << 40;  // of a tensor: times an attribute, it stays inside int64
constexpr u64 kMostBytes = u64{1} << 48;     // of arena and state
constexpr u64 kMostEntries = 1u << 20;       // of tensors and operations

std::string number(u64 value) {
  return std::to_string(value);
}

// A section lies behind the header, at its alignment, inside the file, and behind the one before.
void verify_section(const header& head, const span& section, u64 entry, const char* what, u64& end) {
  u64 size = 0, last = 0;
  const bool fits = !__builtin_mul_overflow(section.count, entry, &size) &&
                    !__builtin_add_overflow(section.offset, size, &last) && last <= head.file_bytes;
  demand(
      section.offset % plan::kAlignment == 0 && section.offset >= end && fits,
      std::string("The section of ") + what + " at byte " + number(section.offset) +
          " does not lie inside the file, on a multiple of 64 and behind the section before it. The file is damaged.");
  end = last;
}

void verify_header(const void* file, std::size_t bytes, header& head) {
  demand(bytes >= sizeof(header), "This is not a plan: it has " + number(bytes) + " bytes, and the header alone " +
                                      number(sizeof(header)) + ".");
  std::memcpy(&head, file, sizeof head);
  demand(!std::memcmp(head.magic, plan::kMagic, sizeof head.magic), "This is not a plan: it does not begin as one.");
  if (head.major != plan::kMajor)
    throw failure(EK_UNSUPPORTED, "The plan has format " + number(head.major) + ", and this library reads format " +
                                      number(plan::kMajor) +
                                      ". Export the model again, or use the library it was made for.");
  demand(head.file_bytes == bytes, "The plan says that it has " + number(head.file_bytes) + " bytes, and it has " +
                                       number(bytes) + ". The file is cut off or damaged.");
  demand(head.arena_bytes <= kMostBytes && head.state_bytes <= kMostBytes,
         "The arena or the state is beyond 2^48 bytes.");
  demand(head.reserved[0] == 0 && head.reserved[1] == 0, "A reserved field of the header is not 0.");
}

void verify_sections(const header& head) {
  u64 end = sizeof(header);
  verify_section(head, head.tensors, sizeof(tensor), "tensors", end);
  verify_section(head, head.operators, sizeof(operation), "operations", end);
  verify_section(head, head.operands, sizeof(u32), "operands", end);
  verify_section(head, head.attributes, 1, "attributes", end);
  verify_section(head, head.strings, 1, "strings", end);
  verify_section(head, head.data, 1, "data", end);
  demand(head.tensors.count <= kMostEntries && head.operators.count <= kMostEntries,
         "The plan has over 2^20 tensors or operations.");
  demand(u64{head.inputs} + head.outputs <= head.tensors.count, "The plan has fewer tensors than inputs and outputs.");
}

void verify_strings(const plan_view& plan) {
  const span& strings = plan.head->strings;
  demand(strings.count >= 1 && plan.strings[strings.count - 1] == 0, "The section of strings does not end with a 0.");
}

// Element [0, ..., 0] to the last one lie inside the region; the number of them overflows nothing.
void verify_extent(const plan_view& plan, const tensor& t) {
  i64 count = 1, reach = 0;
  bool empty = false;
  for (u32 d = 0; d < plan::kMaxDims; ++d) {
    const i64 size = t.size[d], step = t.step[d];
    demand(size >= 0 && step >= 0 && (d < t.dims || size == 1), named(plan, t) + " has size " + std::to_string(size) +
                                                                    " and step " + std::to_string(step) +
                                                                    " in dimension " + number(d) + ".");
    empty = empty || size == 0;
    i64 moved;
    const bool fits = !__builtin_mul_overflow(count, size > 0 ? size : 1, &count) && count <= kMostElements &&
                      !__builtin_mul_overflow(size > 0 ? size - 1 : 0, step, &moved) &&
                      !__builtin_add_overflow(reach, moved, &reach) && reach <= kMostElements && step <= kMostElements;
    demand(fits, named(plan, t) + " is too large.");
  }
  const u64 bytes = bytes_of(t.element), needed = empty ? 0 : (static_cast<u64>(reach) + 1) * bytes;
  demand(t.first <= t.region_bytes && needed <= t.region_bytes - t.first,
         named(plan, t) + " leaves its region of " + number(t.region_bytes) + " bytes.");
}

u64 storage_bytes(const plan_view& plan, const tensor& t) {
  switch (t.kind) {
    case storage::arena:
      return plan.head->arena_bytes;
    case storage::state:
      return plan.head->state_bytes;
    case storage::constant:
      return plan.head->data.count < plan::kSlack ? 0 : plan.head->data.count - plan::kSlack;
    default:
      return 0;
  }
}

// A view of a port: the tensor that describes the port says how many bytes it has.
void verify_port(const plan_view& plan, const tensor& t, u64 index) {
  const bool input = t.kind == storage::input;
  const u64 ports = input ? plan.head->inputs : plan.head->outputs, first = input ? 0 : plan.head->inputs;
  demand(t.region < ports, named(plan, t) + " is of a port that the plan does not have.");
  const bool is_port = index == first + t.region;
  demand(is_port || index >= u64{plan.head->inputs} + plan.head->outputs,
         named(plan, t) + " is not in its port's place.");
  if (is_port) {
    demand(is_dense(t) && t.first == 0 && t.region_bytes == static_cast<u64>(elements(t)) * bytes_of(t.element),
           named(plan, t) + " is an input or output of the model and not dense.");
  } else {
    const tensor& port = plan.tensors[first + t.region];
    const bool bytes_as_s8 = port.element == plan::type::u8 && t.element == plan::type::s8;  // looked up in a table
    demand(t.region_bytes == port.region_bytes && (t.element == port.element || bytes_as_s8),
           named(plan, t) + " differs from its port.");
  }
}

void verify_tensor(const plan_view& plan, u64 index) {
  const tensor& t = plan.tensors[index];
  demand(t.name < plan.head->strings.count, "Tensor " + number(index) + " has its name outside the strings.");
  demand(static_cast<u32>(t.element) <= static_cast<u32>(plan::type::boolean), named(plan, t) + " has no known type.");
  demand(static_cast<u32>(t.kind) <= static_cast<u32>(storage::output), named(plan, t) + " has no known storage.");
  demand(t.dims <= plan::kMaxDims && t.reserved == 0, named(plan, t) + " has over 8 dimensions or a reserved field.");
  const bool scaled = t.element == plan::type::s8 || t.element == plan::type::s16;
  demand(t.scale == 0 || (scaled && std::isnormal(t.scale) && t.scale > 0),
         named(plan, t) + " has a scale that is not a normal positive number.");
  verify_extent(plan, t);
  demand(t.first % bytes_of(t.element) == 0, named(plan, t) + " begins off the alignment of its element.");
  if (index < u64{plan.head->inputs} + plan.head->outputs || t.kind == storage::input || t.kind == storage::output) {
    demand(t.kind == (index < plan.head->inputs                             ? storage::input
                      : index < u64{plan.head->inputs} + plan.head->outputs ? storage::output
                                                                            : t.kind),
           named(plan, t) + " stands where an input or output of the model has to.");
    return verify_port(plan, t, index);
  }
  const u64 bytes = storage_bytes(plan, t);
  demand(t.region <= bytes && t.region_bytes <= bytes - t.region,
         named(plan, t) + " has a region outside its storage.");
  demand(t.region % plan::kAlignment == 0, named(plan, t) + " has a region off a multiple of 64.");
}

void verify_operand(const plan_view& plan, const operation& op, u32 index) {
  const u32 at = plan.operands[op.operands + index];
  const bool may_lack = index >= plan::kKinds[op.kind].fewest && index < op.inputs;
  demand(at < plan.tensor_count() || (at == plan::kNone && may_lack),
         named(plan, op) + ": operand " + number(index) + " is not a tensor.");
}

void verify_operation(const plan_view& plan, u64 index) {
  const operation& op = plan.operations[index];
  const header& head = *plan.head;
  const std::string here = "Operation " + number(index);
  demand(op.name < head.strings.count && op.source < head.strings.count, here + " has its name outside the strings.");
  if (op.kind >= static_cast<u32>(plan::kind::count))
    throw failure(EK_UNSUPPORTED, here + " ('" + plan.text(op.name) + "') is of kind " + number(op.kind) +
                                      ", which this library does not know. Use a newer library.");
  const plan::kind_row& row = plan::kKinds[op.kind];
  demand(row.fewest <= op.inputs && op.inputs <= row.most && op.outputs == row.outputs,
         named(plan, op) + " has " + number(op.inputs) + " inputs and " + number(op.outputs) + " outputs.");
  demand((op.flags & ~plan::kConcurrent) == 0, named(plan, op) + " has a flag that is not known.");
  demand(u64{op.operands} + op.inputs + op.outputs <= head.operands.count,
         named(plan, op) + " has operands outside their section.");
  demand(op.attributes % 8 == 0 && u64{op.attributes} + row.attribute_bytes <= head.attributes.count,
         named(plan, op) + " has attributes outside their section.");
  for (u32 i = 0; i < op.inputs + op.outputs; ++i) verify_operand(plan, op, i);
}

}  // namespace

std::string named(const plan_view& plan, const operation& op) {
  return "Operation " + number(static_cast<u64>(&op - plan.operations)) + " (" + plan::kKinds[op.kind].name + " '" +
         plan.text(op.name) + "')";
}

std::string named(const plan_view& plan, const tensor& t) {
  return "Tensor " + number(static_cast<u64>(&t - plan.tensors)) + " ('" + plan.text(t.name) + "')";
}

plan_view verified(const void* file, std::size_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(file) % plan::kAlignment != 0)
    throw failure(EK_BAD_ARGUMENT, "A plan in memory has to begin on a multiple of 64 bytes.");
  header head;
  verify_header(file, bytes, head);
  verify_sections(head);
  const auto* base = static_cast<const unsigned char*>(file);
  const auto at = [&](const span& section) { return base + section.offset; };
  const plan_view plan = {reinterpret_cast<const header*>(base),
                          reinterpret_cast<const tensor*>(at(head.tensors)),
                          reinterpret_cast<const operation*>(at(head.operators)),
                          reinterpret_cast<const u32*>(at(head.operands)),
                          at(head.attributes),
                          reinterpret_cast<const char*>(at(head.strings)),
                          at(head.data)};
  verify_strings(plan);
  for (u64 i = 0; i < head.tensors.count; ++i) verify_tensor(plan, i);
  for (u64 i = 0; i < head.operators.count; ++i) verify_operation(plan, i);
  verify_program(plan);
  return plan;
}

}  // namespace edgekit
