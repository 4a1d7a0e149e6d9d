// Sums, products, tables and choices, value by value or over whole dimensions.
#include "../ops.h"
#include "invocation.h"
#include "moves.h"

namespace edgekit {

namespace {

// a, b and out as one walk.
grid joined(const site& at) {
  at.need_s8({&at.in(0), &at.in(1), &at.out()});
  return walk_of<2>(at);
}

// Kernels want neighbours, or one value for all, in the last dimension; where there are none, one of size 1 is added.
broadcast shape_of(const site& at) {
  const grid along = joined(at);
  broadcast shape = {};
  shape.dims = along.dims;
  for (int d = 0; d < along.dims; ++d) {
    shape.size[d] = along.size[d];
    shape.step_a[d] = along.step[0][d];
    shape.step_b[d] = along.step[1][d];
    shape.step_out[d] = along.step[2][d];
  }
  const int last = shape.dims - 1;
  if (last >= 0 && shape.step_a[last] <= 1 && shape.step_b[last] <= 1 && shape.step_out[last] == 1) return shape;
  at.need(shape.dims < kMaxDims, "its operands lie in more than 7 dimensions that cannot be joined");
  shape.size[shape.dims] = shape.step_out[shape.dims] = 1;
  ++shape.dims;
  return shape;
}

// split_axes of what are bytes.
void split_bytes(const site& at, u32 chosen, axes& kept, axes& reduced) {
  at.need_s8({&at.in(0), &at.out()});
  split_axes(at, chosen, kept, reduced);
}

}  // namespace

invocation call_add_s8(const site& at) {
  const auto& own = at.own<plan::attributes::add_s8>();
  maker<add_s8_args> make(at);
  make.args.shape = shape_of(at);
  at.need_ratio(own.ratio_a);
  at.need_ratio(own.ratio_b);
  at.need_bounds(own.lo, own.hi);
  make.read(make.args.a, 0);
  make.read(make.args.b, 1);
  make.write(make.args.out);
  make.args.ratio_a = own.ratio_a;
  make.args.ratio_b = own.ratio_b;
  make.args.limit = {own.lo, own.hi};
  make.result.flip = make.offset(&make.args.flip);
  return make.as_word();
}

invocation call_mul_s8(const site& at) {
  const auto& own = at.own<plan::attributes::mul_s8>();
  maker<mul_s8_args> make(at);
  make.args.shape = shape_of(at);
  at.need_normal(own.multiplier, "its multiplier");
  at.need_bounds(own.lo, own.hi);
  make.read(make.args.a, 0);
  make.read(make.args.b, 1);
  make.write(make.args.out);
  make.args.multiplier = own.multiplier;
  make.args.limit = {own.lo, own.hi};
  make.result.flip = make.offset(&make.args.flip);
  return make.as_word();
}

invocation call_choose_s8(const site& at) {
  maker<choose_args> make(at);
  make.args.along = joined(at);
  make.args.least = at.own<plan::attributes::choose_s8>().least != 0;
  make.read(make.args.a, 0);
  make.read(make.args.b, 1);
  make.write(make.args.out);
  make.result.flip = make.offset(&make.args.flip);
  make.result.shared_flip = true;
  return make.as_move<choose_move>("choose_s8");
}

invocation call_sum_s8(const site& at) {
  const auto& own = at.own<plan::attributes::sum_s8>();
  maker<sum_s8_args> make(at);
  split_bytes(at, own.axes, make.args.kept, make.args.reduced);
  at.need_set(count_of(make.args.reduced));
  at.need_normal(own.multiplier, "its multiplier");
  at.need_bounds(own.lo, own.hi);
  make.read(make.args.x, 0);
  make.write(make.args.out);
  make.args.multiplier = own.multiplier;
  make.args.limit = {own.lo, own.hi};
  make.result.flip = make.offset(&make.args.flip);
  return make.as_word();
}

invocation call_extremum_s8(const site& at) {
  const auto& own = at.own<plan::attributes::extremum_s8>();
  maker<extremum_args> make(at);
  split_bytes(at, own.axes, make.args.kept, make.args.reduced);
  at.need_set(count_of(make.args.reduced));
  make.args.least = own.least != 0;
  make.read(make.args.x, 0);
  make.write(make.args.out);
  make.result.flip = make.offset(&make.args.flip);
  make.result.shared_flip = true;
  return make.as_move<extremum_move>("extremum_s8");
}

}  // namespace edgekit
