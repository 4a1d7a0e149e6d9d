// What an operation reads and writes in memory, which is more than its operand where padding lies around an image.
#pragma once

#include "verify.h"

namespace edgekit {

template <class Attributes>
const Attributes& attributes_of(const plan_view& plan, const plan::operation& op) {
  return *reinterpret_cast<const Attributes*>(plan.attributes + op.attributes);
}

// x of a convolution with its padding; not `inside` where memory does not hold that, and the image alone is read.
framed framed_input(const plan_view& plan, const plan::operation& op);

tensor touched_input(const plan_view& plan, const plan::operation& op, u32 index);
tensor touched_output(const plan_view& plan, const plan::operation& op, u32 index);

}  // namespace edgekit
