// Convolutions and products: weights, biases and multipliers are constants, and no sum leaves int32.
#include <algorithm>

#include "../ops.h"
#include "../window.h"
#include "invocation.h"

namespace edgekit {

namespace {

steps image_steps(const tensor& t) {
  return {t.step[0], t.step[3], t.step[1], t.step[2]};
}

bool is_channels_last(const tensor& t) {
  return t.size[3] == 1 || t.step[3] == 1;
}

void need_layer(const site& at, i64 channels) {
  at.need_constant(2, plan::type::s32, {channels});
  at.need_constant(3, plan::type::f32, {channels});
  at.need_finite(3);
}

template <class Attributes, class Args>
void add_residual(const site& at, const Attributes& own, maker<Args>& make, steps step) {
  if (!at.has(4)) return;
  at.need_ratio(own.ratio);
  at.need_ratio(own.residual_ratio);
  at.need_bounds(own.sum_lo, own.sum_hi);
  make.args.added = {nullptr, step, own.ratio, own.residual_ratio, own.residual_first != 0, {own.sum_lo, own.sum_hi}};
  make.read(make.args.added.x, 4);
}

i64 windows(i64 size, i64 kernel, i64 stride, i64 before, i64 behind, i64 dilation) {
  const i64 room = size + before + behind - dilation * (kernel - 1) - 1;
  return room < 0 ? 0 : room / stride + 1;
}

// What conv2d and its transpose both ask of their layer.
template <class Attributes>
void need_geometry(const site& at, const Attributes& own) {
  at.need_s8({&at.in(0), &at.out()});
  at.need(at.in(0).dims == 4 && at.out().dims == 4 && at.in(1).dims == 4,
          "x, weight and out are not of four dimensions");
  for (const u32 value : {own.groups, own.stride_height, own.stride_width, own.dilation_height, own.dilation_width})
    at.need(value >= 1 && value <= kMostAttribute, "groups, strides and dilations must be 1 to 2^20");
  at.need(own.pad_top <= kMostAttribute && own.pad_left <= kMostAttribute, "its padding is beyond 2^20");
  at.need_bounds(own.lo, own.hi);
}

// A linear layer whose result lies in rows with something between them is a convolution of 1x1.
invocation linear_as_conv(const site& at, const tensor& x, const tensor& out) {
  const auto& own = at.own<plan::attributes::linear_s8>();
  const i64 fan_in = at.in(1).size[1], features = at.in(1).size[0];
  maker<conv2d_s8_args> make(at);
  conv2d_s8_args& args = make.args;
  make.read(args.x, 0);
  make.parameter(args.weight, 1);
  make.parameter(args.bias, 2);
  make.parameter(args.multiplier, 3);
  make.write(args.out);
  args.x_step = {x.size[0] * fan_in, 1, fan_in, fan_in};
  args.weight_step = {fan_in, 1, fan_in, fan_in};
  args.out_step = {x.size[0] * out.step[0], 1, out.step[0], features};
  args.images = args.groups = 1;
  args.in_channels = fan_in;
  args.out_channels = features;
  args.in_size = args.out_size = {x.size[0], 1};
  args.kernel = args.stride = args.dilation = {1, 1};
  args.limit = {own.lo, own.hi};
  if (at.has(4)) add_residual(at, own, make, {0, 1, at.in(4).step[0], 0});
  make.result.flip = make.offset(&args.flip);
  make.result.packed = make.offset(&args.packed);
  make.result.macs = elements(out) * fan_in;
  return make.as_word();
}

// [rows, features] with features side by side.
bool in_rows(const tensor& t) {
  return is_dense(t) || (t.dims == 2 && (t.size[1] == 1 || t.step[1] == 1));
}

i64 row_step(const tensor& t, i64 features) {
  return is_dense(t) ? features : t.step[0];
}

}  // namespace

invocation call_conv2d_s8(const site& at) {
  const auto& own = at.own<plan::attributes::conv2d_s8>();
  need_geometry(at, own);
  const tensor &x = at.in(0), &weight = at.in(1), &out = at.out();
  at.need(own.pad_bottom <= kMostAttribute && own.pad_right <= kMostAttribute, "its padding is beyond 2^20");
  const i64 groups = own.groups, filters = weight.size[0], channels = weight.size[3];
  const extent kernel = {weight.size[1], weight.size[2]};
  at.need_constant(1, plan::type::s8, {filters, kernel.height, kernel.width, channels});
  at.need(filters >= 1 && channels >= 1 && kernel.height >= 1 && kernel.width >= 1, "weight is empty");
  at.need(filters % groups == 0 && x.size[3] == channels * groups, "x, weight and groups do not fit each other");
  at.need_reduction(channels * kernel.height * kernel.width);
  need_layer(at, filters);
  at.need_sizes(
      out,
      {x.size[0],
       windows(x.size[1], kernel.height, own.stride_height, own.pad_top, own.pad_bottom, own.dilation_height),
       windows(x.size[2], kernel.width, own.stride_width, own.pad_left, own.pad_right, own.dilation_width), filters});
  maker<conv2d_s8_args> make(at);
  conv2d_s8_args& args = make.args;
  make.read(args.x, 0);
  make.parameter(args.weight, 1);
  make.parameter(args.bias, 2);
  make.parameter(args.multiplier, 3);
  make.write(args.out);
  args.x_step = image_steps(x);
  args.weight_step = channels_last(channels, kernel);
  args.out_step = image_steps(out);
  args.images = x.size[0];
  args.in_channels = x.size[3];
  args.out_channels = filters;
  args.groups = groups;
  args.in_size = {x.size[1], x.size[2]};
  args.out_size = {out.size[1], out.size[2]};
  args.kernel = kernel;
  args.stride = {own.stride_height, own.stride_width};
  args.padding = {own.pad_top, own.pad_left};
  args.dilation = {own.dilation_height, own.dilation_width};
  args.limit = {own.lo, own.hi};
  make.result.channels_last = is_channels_last(x) && is_channels_last(out);
  if (at.has(4)) {
    at.need_s8({&at.in(4)});
    at.need(same_sizes(at.in(4), out) && !repeats(at.in(4)), "what is added is not of the sizes of out");
    make.result.channels_last = make.result.channels_last && is_channels_last(at.in(4));
    add_residual(at, own, make, image_steps(at.in(4)));
  }
  make.result.halo =
      (own.pad_top | own.pad_left | own.pad_bottom | own.pad_right) == 0 || framed_input(at.plan, at.op).inside;
  make.result.flip = make.offset(&args.flip);
  make.result.packed = make.offset(&args.packed);
  make.result.macs = elements(out) * channels * kernel.height * kernel.width;
  return make.as_word();
}

invocation call_linear_s8(const site& at) {
  const auto& own = at.own<plan::attributes::linear_s8>();
  const tensor &x = at.in(0), &weight = at.in(1), &out = at.out();
  at.need_s8({&x, &out});
  at.need(x.dims >= 1 && x.dims == out.dims && weight.dims == 2,
          "x and out have different dimensions, or weight not two");
  at.need_dense(x);
  const i64 features = weight.size[0], fan_in = weight.size[1];
  at.need_constant(1, plan::type::s8, {features, fan_in});
  at.need_reduction(fan_in);
  need_layer(at, features);
  at.need_bounds(own.lo, own.hi);
  i64 rows = 1;
  for (u32 d = 0; d + 1 < x.dims; rows *= x.size[d++])
    at.need(x.size[d] == out.size[d], "x and out have different rows");
  at.need(x.size[x.dims - 1] == fan_in && out.size[x.dims - 1] == features, "x, weight and out do not fit each other");
  at.need(in_rows(out), named(at.plan, out) + " is not in rows");
  if (at.has(4)) {
    at.need_s8({&at.in(4)});
    at.need(same_sizes(at.in(4), out) && in_rows(at.in(4)) && !repeats(at.in(4)),
            "what is added does not lie as out does");
  }
  if (!is_dense(out)) return linear_as_conv(at, x, out);
  maker<linear_s8_args> make(at);
  linear_s8_args& args = make.args;
  make.read(args.x, 0);
  make.parameter(args.weight, 1);
  make.parameter(args.bias, 2);
  make.parameter(args.multiplier, 3);
  make.write(args.out);
  args.rows = rows;
  args.fan_in = fan_in;
  args.features = features;
  args.limit = {own.lo, own.hi};
  if (at.has(4)) add_residual(at, own, make, {0, 1, row_step(at.in(4), features), 0});
  make.result.flip = make.offset(&args.flip);
  make.result.packed = make.offset(&args.packed);
  make.result.macs = elements(out) * fan_in;
  return make.as_word();
}

invocation call_conv_transpose2d_s8(const site& at) {
  const auto& own = at.own<plan::attributes::conv_transpose2d_s8>();
  need_geometry(at, own);
  const tensor &x = at.in(0), &weight = at.in(1), &out = at.out();
  const i64 groups = own.groups, filters = weight.size[1];
  const extent kernel = {weight.size[2], weight.size[3]};
  at.need_constant(1, plan::type::s8, {weight.size[0], filters, kernel.height, kernel.width});
  at.need(filters >= 1 && kernel.height >= 1 && kernel.width >= 1 && weight.size[0] >= 1, "weight is empty");
  at.need(weight.size[0] % groups == 0 && x.size[3] == weight.size[0], "x, weight and groups do not fit each other");
  at.need_reduction(weight.size[0] / groups * kernel.height * kernel.width);
  at.need(out.size[0] == x.size[0] && out.size[3] % groups == 0 && out.size[3] / groups == filters,
          "x, weight and out do not fit each other");
  need_layer(at, out.size[3]);
  const auto reach = [](i64 in, i64 taps, i64 stride, i64 dilation) {
    return (in - 1) * stride + dilation * (taps - 1) + std::max(stride, dilation);
  };
  at.need(out.size[1] <= reach(x.size[1], kernel.height, own.stride_height, own.dilation_height) &&
              out.size[2] <= reach(x.size[2], kernel.width, own.stride_width, own.dilation_width),
          "out is larger than any padding makes it");
  maker<conv_transpose2d_s8_args> make(at);
  conv_transpose2d_s8_args& args = make.args;
  make.read(args.x, 0);
  make.parameter(args.weight, 1);
  make.parameter(args.bias, 2);
  make.parameter(args.multiplier, 3);
  make.write(args.out);
  args.x_step = image_steps(x);
  args.out_step = image_steps(out);
  args.images = x.size[0];
  args.in_channels = x.size[3];
  args.out_channels = out.size[3];
  args.groups = groups;
  args.in_size = {x.size[1], x.size[2]};
  args.out_size = {out.size[1], out.size[2]};
  args.kernel = kernel;
  args.stride = {own.stride_height, own.stride_width};
  args.padding = {own.pad_top, own.pad_left};
  args.dilation = {own.dilation_height, own.dilation_width};
  args.limit = {own.lo, own.hi};
  make.result.macs = elements(out) * (weight.size[0] / groups) * kernel.height * kernel.width;
  return make.as_word();
}

invocation call_matmul_s8(const site& at) {
  const auto& own = at.own<plan::attributes::matmul_s8>();
  const tensor &a = at.in(0), &b = at.in(1), &out = at.out();
  at.need_s8({&a, &b, &out});
  for (const tensor* t : {&a, &b, &out}) at.need_dense(*t);
  const u32 dims = out.dims;
  at.need(a.dims >= 2 && b.dims >= 2 && dims == std::max(a.dims, b.dims),
          "a and b have to have two dimensions at least, and out as many");
  maker<matmul_s8_args> make(at);
  matmul_s8_args& args = make.args;
  args.rows = a.size[a.dims - 2];
  args.fan_in = a.size[a.dims - 1];
  args.columns = b.size[b.dims - 1];
  at.need(b.size[b.dims - 2] == args.fan_in && out.size[dims - 2] == args.rows && out.size[dims - 1] == args.columns,
          "a, b and out do not fit each other");
  at.need_reduction(args.fan_in);
  set_batch(at, args.batch);
  make.read(args.a, 0);
  make.read(args.b, 1);
  make.write(args.out);
  at.need_normal(own.multiplier, "its multiplier");
  at.need_bounds(own.lo, own.hi);
  args.multiplier = own.multiplier;
  args.limit = {own.lo, own.hi};
  make.result.flip = make.offset(&args.flip);
  make.result.macs = elements(out) * args.fan_in;
  return make.as_word();
}

}  // namespace edgekit
