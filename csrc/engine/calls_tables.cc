// Tables: lut_s8, and the two ends of a net, quantize_s8 and dequantize, with their changes of layout.
#include <algorithm>

#include "../ops.h"
#include "invocation.h"
#include "moves.h"

namespace edgekit {

namespace {

// One table for all: x and out are rows side by side, each dense within.
bool as_rows(const grid& along, lut_s8_args& args) {
  const int last = along.dims - 1;
  if (along.dims > 2 || (last >= 0 && (along.step[0][last] != 1 || along.step[1][last] != 1))) return false;
  args.channels = 1;
  args.inner = last >= 0 ? along.size[last] : 1;
  args.outer = along.dims == 2 ? along.size[0] : 1;
  args.x_step = along.dims == 2 ? along.step[0][0] : args.inner;
  args.out_step = along.dims == 2 ? along.step[1][0] : args.inner;
  return true;
}

// A table for each index of the last dimension, or of one before dense ones.
bool as_channels(const tensor& x, const tensor& out, u32 axis, lut_s8_args& args) {
  if (!is_dense(x) || !is_dense(out)) return false;
  args.outer = args.inner = 1;
  args.channels = x.size[axis];
  for (u32 d = 0; d < axis; ++d) args.outer *= x.size[d];
  for (u32 d = axis + 1; d < x.dims; ++d) args.inner *= x.size[d];
  args.x_step = args.out_step = args.channels * args.inner;
  return true;
}

grid lut_grid(const site& at, i64 axis) {
  grid along = {};
  set_steps(along, 0, at.in(0), 1);
  set_steps(along, 1, at.out(), 1);
  if (axis >= 0) along.step[2][axis] = 256;
  return merged(along, 1);
}

invocation lut_by_move(const site& at, const grid& along) {
  maker<lut_move_args> make(at);
  make.args.along = along;
  make.read(make.args.x, 0);
  make.parameter(make.args.table, 1);
  make.write(make.args.out);
  make.result.flip = make.offset(&make.args.flip);
  make.result.shared_flip = true;
  return make.as_move<lut_move>("lut_s8");
}

constexpr u32 kImagesLast[] = {0, 2, 3, 1}, kSeriesLast[] = {0, 2, 1};

// x, channels first, seen in the order of what has them last.
tensor channels_last_view(const site& at, const tensor& first) {
  at.need(first.dims == 3 || first.dims == 4, "a change of layout needs three or four dimensions");
  return first.dims == 4 ? permuted(first, kImagesLast) : permuted(first, kSeriesLast);
}

// The dimensions of x, which is dense, with their steps in out; at least one.
axes in_order_of_x(const tensor& x, const tensor& out) {
  grid along = {};
  set_steps(along, 0, x, 1);
  set_steps(along, 1, out, 1);
  along = merged(along, 0);
  axes result = {along.dims, {}, {}};
  std::copy_n(along.size, along.dims, result.size);
  std::copy_n(along.step[1], along.dims, result.step);
  return along.dims ? result : axes{1, {1}, {1}};
}

const float* scale_of(const site& at, const tensor& t) {
  at.need_normal(t.scale, "the scale of its s8 operand");
  return &t.scale;
}

}  // namespace

invocation call_lut_s8(const site& at) {
  const i64 axis = at.own<plan::attributes::lut_s8>().axis;
  const tensor &x = at.in(0), &out = at.out();
  at.need_s8({&x, &out});
  at.need(same_sizes(x, out), "x and out have different sizes");
  at.need(axis >= -1 && axis < i64{x.dims}, "its axis is not a dimension of x");
  const tensor& table = at.in(1);
  at.need(table.kind == plan::storage::constant && table.element == plan::type::s8 && is_dense(table),
          "its table is not a dense constant of s8");
  at.need(elements(table) == 256 * (axis < 0 ? 1 : x.size[axis]), "its table does not hold 256 values for each index");
  const grid along = lut_grid(at, axis);
  maker<lut_s8_args> make(at);
  const bool fits = axis < 0 ? as_rows(along, make.args) : as_channels(x, out, static_cast<u32>(axis), make.args);
  if (!fits) return lut_by_move(at, along);
  make.read(make.args.x, 0);
  make.parameter(make.args.table, 1);
  make.write(make.args.out);
  make.result.flip = make.offset(&make.args.flip);
  return make.as_word();
}

invocation call_quantize_s8(const site& at) {
  const auto& own = at.own<plan::attributes::quantize_s8>();
  const tensor &x = at.in(0), &out = at.out();
  at.need_type(x, plan::type::f32);
  at.need_s8({&out});
  at.need_dense(x);
  at.need_bounds(own.lo, own.hi);
  const float* scale = scale_of(at, out);
  const tensor seen = own.channels_last ? channels_last_view(at, x) : x;
  at.need(same_sizes(seen, out), "x and out do not fit each other");
  maker<quantize_s8_args> make(at);
  make.read(make.args.x, 0);
  make.write(make.args.out);
  make.args.scale = scale;
  make.args.along = in_order_of_x(seen, out);
  make.args.channels = 1;
  make.args.limit = {own.lo, own.hi};
  make.result.flip = make.offset(&make.args.flip);
  return make.as_word();
}

invocation call_dequantize(const site& at) {
  const tensor &x = at.in(0), &out = at.out();
  at.need_s8({&x});
  at.need_type(out, plan::type::f32);
  at.need_dense(out);
  const bool turns = at.own<plan::attributes::dequantize>().channels_first != 0;
  const tensor seen = turns ? channels_last_view(at, out) : out;
  at.need(same_sizes(seen, x), "x and out do not fit each other");
  maker<dequantize_move_args> make(at);
  make.read(make.args.x, 0);
  make.write(make.args.out);
  set_steps(make.args.along, 0, x, 1);
  set_steps(make.args.along, 1, seen, 1);
  make.args.along = merged(make.args.along, 1);
  make.args.scale = *scale_of(at, x);
  make.result.flip = make.offset(&make.args.flip);
  return make.as_move<dequantize_move>("dequantize");
}

}  // namespace edgekit
