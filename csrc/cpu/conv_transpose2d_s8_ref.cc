// conv_transpose2d_s8, normative: every output gathers the inputs whose windows reach it, then bias and requantisation.
// The sum fits int32: fan-in (in_channels / groups * kernel) <= 131,071.
//
// The weight is turned once into rows of outputs, so that one input meets all outputs of its group side by side.
#include <algorithm>

#include "../ops.h"
#include "../part.h"
#include "../residual.h"

namespace edgekit {

namespace {

// The input that tap k of the kernel brings to `out`, or -1: out = in * stride - padding + k * dilation.
std::int64_t source(std::int64_t out, std::int64_t k, std::int64_t size, std::int64_t stride, std::int64_t padding,
                    std::int64_t dilation) {
  const std::int64_t at = out + padding - k * dilation;
  return at >= 0 && at % stride == 0 && at / stride < size ? at / stride : -1;
}

// [kernel, in_channels, out_channels / groups]
void turn_weight(const conv_transpose2d_s8_args& args, std::int16_t* to) {
  const std::int64_t taps = args.kernel.height * args.kernel.width, outputs = args.out_channels / args.groups;
  for (std::int64_t tap = 0; tap < taps; ++tap)
    for (std::int64_t row = 0; row < args.in_channels * outputs; ++row) *to++ = args.weight[row * taps + tap];
}

void add_pixel(const conv_transpose2d_s8_args& args, const std::int8_t* x, const std::int16_t* weight,
               std::int32_t* sums) {
  const std::int64_t outputs = args.out_channels / args.groups, inputs = args.in_channels / args.groups;
  for (std::int64_t channel = 0; channel < args.in_channels; ++channel, weight += outputs) {
    const std::int32_t value = x[channel * args.x_step.channel];
    std::int32_t* to = sums + channel / inputs * outputs;
    for (std::int64_t o = 0; o < outputs; ++o) to[o] += value * weight[o];
  }
}

void window_sums(const conv_transpose2d_s8_args& args, std::int64_t image, std::int64_t row, std::int64_t column,
                 const std::int16_t* weight, std::int32_t* sums) {
  const std::int64_t filter = args.in_channels * (args.out_channels / args.groups);
  std::fill_n(sums, args.out_channels, 0);
  for (std::int64_t kh = 0; kh < args.kernel.height; ++kh) {
    const std::int64_t y =
        source(row, kh, args.in_size.height, args.stride.height, args.padding.height, args.dilation.height);
    for (std::int64_t kw = 0; y >= 0 && kw < args.kernel.width; ++kw) {
      const std::int64_t x =
          source(column, kw, args.in_size.width, args.stride.width, args.padding.width, args.dilation.width);
      if (x < 0) continue;
      add_pixel(args, args.x + at_step(args.x_step, image, 0, y, x), weight + (kh * args.kernel.width + kw) * filter,
                sums);
    }
  }
}

}  // namespace

std::size_t conv_transpose2d_s8_ref_scratch(const conv_transpose2d_s8_args& args) {
  const std::int64_t weights =
      args.kernel.height * args.kernel.width * args.in_channels * (args.out_channels / args.groups);
  return static_cast<std::size_t>(args.out_channels) * sizeof(std::int32_t) +
         static_cast<std::size_t>(weights) * sizeof(std::int16_t);
}

void conv_transpose2d_s8_ref(const conv_transpose2d_s8_args& args, const part& part) {
  auto* sums = static_cast<std::int32_t*>(part.scratch);
  auto* weight = reinterpret_cast<std::int16_t*>(sums + args.out_channels);
  turn_weight(args, weight);
  const range rows = share_of(args.images * args.out_size.height, part);
  for (std::int64_t at = rows.begin; at < rows.end; ++at) {
    const std::int64_t image = at / args.out_size.height, row = at % args.out_size.height;
    for (std::int64_t column = 0; column < args.out_size.width; ++column) {
      window_sums(args, image, row, column, weight, sums);
      for (std::int64_t o = 0; o < args.out_channels; ++o)
        args.out[at_step(args.out_step, image, o, row, column)] =
            requantize(add_bias(sums[o], args.bias[o]), args.multiplier[o], args.limit.lo, args.limit.hi);
    }
  }
}

}  // namespace edgekit
