#include "touched.h"

#include "failure.h"

namespace edgekit {

framed framed_input(const plan_view& plan, const plan::operation& op) {
  const auto& own = attributes_of<plan::attributes::conv2d_s8>(plan, op);
  const tensor& x = plan.tensors[plan.input(op, 0)];
  demand(x.dims == 4, named(plan, op) + ": x is not an image.");
  const framed result = with_frame(x, own.pad_top, own.pad_left, own.pad_bottom, own.pad_right);
  return result.inside && !may_overlap_itself(result.image) ? result : framed{x, false};
}

tensor touched_input(const plan_view& plan, const plan::operation& op, u32 index) {
  if (index == 0 && op.kind == static_cast<u32>(plan::kind::conv2d_s8)) return framed_input(plan, op).image;
  return plan.tensors[plan.input(op, index)];
}

tensor touched_output(const plan_view& plan, const plan::operation& op, u32 index) {
  const tensor& out = plan.tensors[plan.output(op, index)];
  if (op.kind != static_cast<u32>(plan::kind::halo)) return out;
  const auto& own = attributes_of<plan::attributes::halo>(plan, op);
  demand(out.dims == 4, named(plan, op) + ": x is not an image.");
  const framed result = with_frame(out, own.top, own.left, own.bottom, own.right);
  demand(result.inside || elements(out) == 0, named(plan, op) + ": what it writes leaves the region of the image.");
  return result.image;
}

}  // namespace edgekit
