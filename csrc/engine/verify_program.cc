// What operations do to memory: nothing is written that must not be, and an operation that may run beside others shares
// nothing with them.
#include <vector>

#include "failure.h"
#include "touched.h"
#include "verify.h"

namespace edgekit {

namespace {

using plan::operation;
using plan::storage;

constexpr std::size_t kMostConcurrent = 64;  // operations at once: the check compares each with each

bool in_place_allowed(u32 kind) {
  switch (static_cast<plan::kind>(kind)) {
    case plan::kind::add_s8:
    case plan::kind::mul_s8:
    case plan::kind::lut_s8:
    case plan::kind::choose_s8:
    case plan::kind::binary:
    case plan::kind::unary_f32:
    case plan::kind::select:
      return true;
    default:
      return false;
  }
}

void verify_written(const plan_view& plan, const operation& op, u32 index) {
  const tensor written = touched_output(plan, op, index);
  const std::string what = named(plan, op) + " writes " + named(plan, plan.tensors[plan.output(op, index)]);
  demand(written.kind != storage::constant && written.kind != storage::input, what + ", which is only ever read.");
  demand(!may_overlap_itself(written), what + ", whose elements lie on each other.");
  for (u32 i = 0; i < op.inputs; ++i) {
    if (plan.input(op, i) == plan::kNone) continue;
    const tensor read = touched_input(plan, op, i);
    const bool in_place = in_place_allowed(op.kind) && same_view(read, written);
    demand(apart(read, written) || in_place, what + " over what it reads as operand " + std::to_string(i) + ".");
  }
  for (u32 other = 0; other < index; ++other)
    demand(apart(touched_output(plan, op, other), written), what + " over its other output.");
}

bool clash(const plan_view& plan, const operation& a, const operation& b) {
  for (u32 i = 0; i < a.outputs; ++i) {
    const tensor written = touched_output(plan, a, i);
    for (u32 j = 0; j < b.inputs; ++j)
      if (plan.input(b, j) != plan::kNone && !apart(written, touched_input(plan, b, j))) return true;
    for (u32 j = 0; j < b.outputs; ++j)
      if (!apart(written, touched_output(plan, b, j))) return true;
  }
  return false;
}

// Operations since the last that waited: one more must have nothing to do with any of them.
void verify_concurrent(const plan_view& plan, std::vector<u32>& together, u32 index) {
  const operation& op = plan.operations[index];
  if (!(op.flags & plan::kConcurrent)) together.clear();
  demand(together.size() < kMostConcurrent, named(plan, op) + " runs beside over 63 others.");
  for (const u32 other : together)
    demand(
        !clash(plan, plan.operations[other], op) && !clash(plan, op, plan.operations[other]),
        named(plan, op) + " is marked as concurrent, and shares memory with operation " + std::to_string(other) + ".");
  together.push_back(index);
}

// The caller's outputs hold nothing before an operation has written into them.
void verify_ports(const plan_view& plan, std::vector<bool>& written, const operation& op) {
  for (u32 i = 0; i < op.inputs; ++i) {
    if (plan.input(op, i) == plan::kNone) continue;
    const tensor& t = plan.tensors[plan.input(op, i)];
    demand(t.kind != storage::output || written[t.region], named(plan, op) + " reads an output that nothing wrote.");
  }
  for (u32 i = 0; i < op.outputs; ++i) {
    const tensor& t = plan.tensors[plan.output(op, i)];
    if (t.kind == storage::output) written[t.region] = true;
  }
}

}  // namespace

void verify_program(const plan_view& plan) {
  std::vector<u32> together;
  std::vector<bool> written(plan.head->outputs, false);
  for (u32 i = 0; i < plan.operation_count(); ++i) {
    const operation& op = plan.operations[i];
    verify_concurrent(plan, together, i);
    for (u32 output = 0; output < op.outputs; ++output) verify_written(plan, op, output);
    verify_ports(plan, written, op);
  }
  for (u32 i = 0; i < plan.head->outputs; ++i) {
    const tensor& port = plan.tensors[plan.head->inputs + i];
    demand(written[i] || elements(port) == 0, named(plan, port) + " is an output, and nothing writes it.");
  }
}

}  // namespace edgekit
