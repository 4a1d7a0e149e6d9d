// Pools of images.
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

// The number of windows, the last one hanging over or not.
void need_windows(const site& at, i64 in, i64 out, i64 kernel, i64 stride, i64 padding, i64 dilation) {
  at.need(out >= 1 && (out == window_count(in, kernel, stride, padding, dilation, false) ||
                       out == window_count(in, kernel, stride, padding, dilation, true)),
          "out does not have the size that the windows give");
}

template <class Attributes, class Args>
void set_pool(const site& at, const Attributes& own, extent dilation, maker<Args>& make) {
  const tensor &x = at.in(0), &out = at.out();
  at.need_s8({&x, &out});
  at.need(x.dims == 4 && out.dims == 4 && !repeats(x), "x and out are not images");
  for (const u32 value : {own.kernel_height, own.kernel_width, own.stride_height, own.stride_width})
    at.need(value >= 1 && value <= kMostAttribute, "kernel and stride must be 1 to 2^20");
  at.need(own.pad_height <= own.kernel_height / 2 && own.pad_width <= own.kernel_width / 2,
          "its padding is over half the kernel");
  at.need(x.size[0] == out.size[0] && x.size[3] == out.size[3], "x and out differ in images or channels");
  need_windows(at, x.size[1], out.size[1], own.kernel_height, own.stride_height, own.pad_height, dilation.height);
  need_windows(at, x.size[2], out.size[2], own.kernel_width, own.stride_width, own.pad_width, dilation.width);
  Args& args = make.args;
  make.read(args.x, 0);
  make.write(args.out);
  args.x_step = image_steps(x);
  args.out_step = image_steps(out);
  args.images = x.size[0];
  args.channels = x.size[3];
  args.in_size = {x.size[1], x.size[2]};
  args.out_size = {out.size[1], out.size[2]};
  args.kernel = {own.kernel_height, own.kernel_width};
  args.stride = {own.stride_height, own.stride_width};
  args.padding = {own.pad_height, own.pad_width};
  make.result.channels_last = is_channels_last(x) && is_channels_last(out);
  make.result.flip = make.offset(&args.flip);
}

}  // namespace

invocation call_avg_pool_s8(const site& at) {
  const auto& own = at.own<plan::attributes::avg_pool_s8>();
  maker<avg_pool_s8_args> make(at);
  set_pool(at, own, {1, 1}, make);
  const i64 taps = i64{own.kernel_height} * own.kernel_width;
  at.need_reduction(taps);
  at.need_constant(1, plan::type::f32, {taps + 1});
  at.need_finite(1, 1);
  at.need_bounds(own.lo, own.hi);
  make.parameter(make.args.multiplier, 1);
  make.args.count_include_pad = own.count_include_pad != 0;
  make.args.limit = {own.lo, own.hi};
  return make.as_word();
}

invocation call_max_pool_s8(const site& at) {
  const auto& own = at.own<plan::attributes::max_pool_s8>();
  for (const u32 value : {own.dilation_height, own.dilation_width})
    at.need(value >= 1 && value <= kMostAttribute, "its dilation must be 1 to 2^20");
  maker<max_pool_s8_args> make(at);
  make.args.dilation = {own.dilation_height, own.dilation_width};
  set_pool(at, own, make.args.dilation, make);
  return make.as_word();
}

}  // namespace edgekit
