// The float words with weights, windows or time. All dense, in torch's order.
#include <algorithm>

#include "../window.h"
#include "floats.h"
#include "invocation.h"

namespace edgekit {

namespace {

constexpr i64 kMostDepth = 1 << 22;  // products of a sum: what a thread brings together is 16 times as many values

void need_reals(const site& at, std::initializer_list<const tensor*> operands) {
  for (const tensor* t : operands) {
    at.need_type(*t, plan::type::f32);
    at.need_dense(*t);
  }
}

void need_depth(const site& at, i64 values) {
  at.need(values >= 1 && values <= kMostDepth, "a sum is not over 1 to 2^22 products");
}

void need_bias(const site& at, u32 input, i64 channels) {
  need_reals(at, {&at.in(input)});
  at.need_sizes(at.in(input), {channels});
}

// Of N dimensions from the third on.
volume volume_of(const tensor& t) {
  return {t.size[2], t.size[3], t.size[4]};
}

void need_range(const site& at, const volume& v, i64 least, const char* what) {
  for (const i64 value : {v.depth, v.height, v.width})
    at.need(value >= least && value <= kMostAttribute, std::string(what) + " is out of range");
}

i64 windows(i64 size, i64 kernel, i64 stride, i64 pad, i64 dilation) {
  return window_count(size, kernel, stride, pad, dilation, false);
}

void need_pooled(const site& at, i64 in, i64 out, i64 kernel, i64 stride, i64 pad, i64 dilation) {
  at.need(pad <= kernel / 2, "its padding is over half the kernel");
  at.need(out >= 1 && (out == windows(in, kernel, stride, pad, dilation) ||
                       out == window_count(in, kernel, stride, pad, dilation, true)),
          "out does not have the size that the windows give");
}

// `gates` parts of the input, then h0, with `states` of its kind, weight and bias.
template <class Args>
void set_recurrent(const site& at, u32 gates, u32 states, maker<Args>& make) {
  const tensor& first = at.in(0);
  at.need(first.dims == 3, "the parts of the input are not of three dimensions");
  Args& args = make.args;
  args.steps = first.size[0];
  args.batch = first.size[1];
  args.units = first.size[2];
  need_depth(at, args.units);
  for (u32 i = 0; i < gates; ++i) {
    need_reals(at, {&at.in(i)});
    at.need_sizes(at.in(i), {args.steps, args.batch, args.units});
    make.read(args.gates[i], i);
  }
  for (u32 i = gates; i < gates + states; ++i) {
    need_reals(at, {&at.in(i)});
    at.need_sizes(at.in(i), {args.batch, args.units});
  }
  const u32 weight = gates + states;
  at.need_constant(weight, plan::type::f32, {args.units, gates * args.units});
  at.need_constant(weight + 1, plan::type::f32, {gates * args.units});
  need_reals(at, {&at.out()});
  at.need_sizes(at.out(), {args.steps, args.batch, args.units});
  make.read(args.h0, gates);
  make.parameter(args.weight, weight);
  make.parameter(args.bias, weight + 1);
  make.write(args.out);
  make.result.macs = i64{gates} * elements(at.out()) * args.units;
  make.result.scratch_bytes = recurrent_f32_scratch(gates, args.units);
}

}  // namespace

invocation call_matmul_f32(const site& at) {
  const tensor &a = at.in(0), &b = at.in(1), &out = at.out();
  need_reals(at, {&a, &b, &out});
  const u32 dims = out.dims;
  at.need(a.dims >= 2 && b.dims >= 2 && dims == std::max(a.dims, b.dims),
          "a and b have to have two dimensions at least, and out as many");
  maker<matmul_f32_args> make(at);
  matmul_f32_args& args = make.args;
  args.rows = a.size[a.dims - 2];
  args.fan_in = a.size[a.dims - 1];
  args.columns = b.size[b.dims - 1];
  at.need(b.size[b.dims - 2] == args.fan_in && out.size[dims - 2] == args.rows && out.size[dims - 1] == args.columns,
          "a, b and out do not fit each other");
  need_depth(at, args.fan_in);
  set_batch(at, args.batch);
  make.read(args.a, 0);
  make.read(args.b, 1);
  if (at.has(2)) {
    need_bias(at, 2, args.columns);
    make.read(args.bias, 2);
  }
  make.write(args.out);
  make.result.macs = elements(out) * args.fan_in;
  make.result.scratch_bytes = matmul_f32_scratch(args);
  return make.as_move<matmul_f32_move>("matmul_f32");
}

invocation call_conv_f32(const site& at) {
  const auto& own = at.own<plan::attributes::conv_f32>();
  const tensor &x = at.in(0), &weight = at.in(1), &out = at.out();
  need_reals(at, {&x, &weight, &out});
  at.need(x.dims == 5 && weight.dims == 5 && out.dims == 5, "x, weight and out are not of five dimensions");
  maker<conv_f32_args> make(at);
  conv_f32_args& args = make.args;
  args.stride = {own.stride_depth, own.stride_height, own.stride_width};
  args.padding = {own.pad_depth, own.pad_height, own.pad_width};
  args.dilation = {own.dilation_depth, own.dilation_height, own.dilation_width};
  args.in_size = volume_of(x);
  args.out_size = volume_of(out);
  args.kernel = volume_of(weight);
  need_range(at, args.stride, 1, "its stride");
  need_range(at, args.dilation, 1, "its dilation");
  need_range(at, args.padding, 0, "its padding");
  need_range(at, args.kernel, 1, "its kernel");
  args.images = x.size[0];
  args.groups = own.groups;
  args.channels = weight.size[1];
  at.need(args.groups >= 1 && args.groups <= i64{kMostAttribute} && weight.size[0] % args.groups == 0 &&
              x.size[1] == args.channels * args.groups && out.size[1] == weight.size[0] && out.size[0] == x.size[0],
          "x, weight, out and groups do not fit each other");
  args.filters = weight.size[0] / args.groups;
  at.need(args.filters >= 1, "weight is empty");
  need_depth(at, args.channels * args.kernel.count());
  const volume &in = args.in_size, &k = args.kernel, &s = args.stride, &p = args.padding, &d = args.dilation;
  at.need(in.count() <= INT32_MAX, "a channel of x has over 2^31 - 1 values");
  at.need_sizes(out, {args.images, weight.size[0], windows(in.depth, k.depth, s.depth, p.depth, d.depth),
                      windows(in.height, k.height, s.height, p.height, d.height),
                      windows(in.width, k.width, s.width, p.width, d.width)});
  make.read(args.x, 0);
  make.read(args.weight, 1);
  if (at.has(2)) {
    need_bias(at, 2, weight.size[0]);
    make.read(args.bias, 2);
  }
  make.write(args.out);
  make.result.macs = elements(out) * args.channels * args.kernel.count();
  make.result.scratch_bytes = conv_f32_scratch(args);
  return make.as_move<conv_f32_move>("conv_f32");
}

invocation call_pool_f32(const site& at) {
  const auto& own = at.own<plan::attributes::pool_f32>();
  const tensor &x = at.in(0), &out = at.out();
  need_reals(at, {&x, &out});
  at.need(x.dims == 5 && out.dims == 5 && x.size[0] == out.size[0] && x.size[1] == out.size[1],
          "x and out are not of five dimensions, or differ in images or channels");
  maker<pool_f32_args> make(at);
  pool_f32_args& args = make.args;
  args.kernel = {own.kernel_depth, own.kernel_height, own.kernel_width};
  args.stride = {own.stride_depth, own.stride_height, own.stride_width};
  args.padding = {own.pad_depth, own.pad_height, own.pad_width};
  args.dilation = {own.dilation_depth, own.dilation_height, own.dilation_width};
  args.in_size = volume_of(x);
  args.out_size = volume_of(out);
  need_range(at, args.kernel, 1, "its kernel");
  need_range(at, args.stride, 1, "its stride");
  need_range(at, args.dilation, 1, "its dilation");
  const volume &in = args.in_size, &to = args.out_size, &k = args.kernel, &s = args.stride, &p = args.padding,
               &d = args.dilation;
  need_pooled(at, in.depth, to.depth, k.depth, s.depth, p.depth, d.depth);
  need_pooled(at, in.height, to.height, k.height, s.height, p.height, d.height);
  need_pooled(at, in.width, to.width, k.width, s.width, p.width, d.width);
  need_depth(at, k.count());
  args.images = x.size[0] * x.size[1];
  args.average = own.average != 0;
  args.count_include_pad = own.count_include_pad != 0;
  args.divisor = own.divisor;
  at.need(!args.average || d.count() == 1, "an average of windows with gaps is not known");
  make.read(args.x, 0);
  make.write(args.out);
  make.result.bytes += elements(out) * k.count();
  return make.as_move<pool_f32_move>("pool_f32");
}

invocation call_gru_f32(const site& at) {
  maker<gru_f32_args> make(at);
  set_recurrent(at, 3, 1, make);
  make.args.reverse = at.own<plan::attributes::gru_f32>().reverse != 0;
  return make.as_move<gru_f32_move>("gru_f32");
}

invocation call_lstm_f32(const site& at) {
  maker<lstm_f32_args> make(at);
  set_recurrent(at, 4, 2, make);
  need_reals(at, {&at.out(1)});
  at.need_sizes(at.out(1), {make.args.batch, make.args.units});
  make.read(make.args.c0, 5);
  make.write(make.args.cell, 1);
  make.args.reverse = at.own<plan::attributes::lstm_f32>().reverse != 0;
  return make.as_move<lstm_f32_move>("lstm_f32");
}

}  // namespace edgekit
