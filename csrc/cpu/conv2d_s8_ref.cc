// conv2d_s8, normative: y = sat8(rne(float32(patch . w[o] + bias[o]) * multiplier[o])), padding reads 0; then what is
// added. The dot product is exact: a fan-in <= 131,071, and 131,071 * 128 * 128 < 2^31.
//
// Each patch is gathered once, so that bounds are tested per row of the kernel, not per product, and then meets every
// filter of its group. Patch and filters are widened to int16: the compiler has a multiply-add of pairs for that on
// every ISA.
#include <algorithm>

#include "../ops.h"
#include "../part.h"
#include "../residual.h"
#include "../window.h"

namespace edgekit {

namespace {

std::int64_t fan_in(const conv2d_s8_args& args) {
  return args.in_channels / args.groups * args.kernel.height * args.kernel.width;
}

// The patch of the window at (top, left) in the order of a filter: [channels, kernel.height, kernel.width].
void gather(const conv2d_s8_args& args, const std::int8_t* x, std::int64_t top, std::int64_t left,
            std::int16_t* patch) {
  const taps rows(top, args.kernel.height, args.dilation.height, args.in_size.height);
  const taps columns(left, args.kernel.width, args.dilation.width, args.in_size.width);
  std::fill_n(patch, fan_in(args), std::int16_t{0});
  for (std::int64_t channel = 0; channel < args.in_channels / args.groups; ++channel) {
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
      const std::int8_t* source =
          x + channel * args.x_step.channel + (top + row * args.dilation.height) * args.x_step.row;
      std::int16_t* target = patch + (channel * args.kernel.height + row) * args.kernel.width;
      for (std::int64_t column = columns.begin; column < columns.end; ++column) {
        target[column] = source[(left + column * args.dilation.width) * args.x_step.column];
      }
    }
  }
}

void widen_filters(const conv2d_s8_args& args, std::int16_t* to) {
  for (std::int64_t o = 0; o < args.out_channels; ++o)
    for (std::int64_t channel = 0; channel < args.in_channels / args.groups; ++channel)
      for (std::int64_t row = 0; row < args.kernel.height; ++row)
        for (std::int64_t column = 0; column < args.kernel.width; ++column)
          *to++ = args.weight[o * args.weight_step.image + channel * args.weight_step.channel +
                              row * args.weight_step.row + column * args.weight_step.column];
}

std::int32_t dot(const std::int16_t* patch, const std::int16_t* filter, std::int64_t length) {
  std::int32_t sum = 0;
  for (std::int64_t k = 0; k < length; ++k) sum += patch[k] * filter[k];
  return sum;
}

}  // namespace

std::size_t conv2d_s8_ref_scratch(const conv2d_s8_args& args) {
  return static_cast<std::size_t>(fan_in(args)) * (args.out_channels + 1) * sizeof(std::int16_t);
}

void conv2d_s8_ref(const conv2d_s8_args& args, const part& part) {
  const std::int64_t channels = args.in_channels / args.groups, filters = args.out_channels / args.groups;
  const std::int64_t length = fan_in(args);
  auto* patch = static_cast<std::int16_t*>(part.scratch);
  std::int16_t* weight = patch + length;
  widen_filters(args, weight);
  const range rows = share_of(args.images * args.groups * args.out_size.height, part);
  for (std::int64_t at = rows.begin; at < rows.end; ++at) {
    const std::int64_t row = at % args.out_size.height, group = at / args.out_size.height % args.groups;
    const std::int64_t image = at / (args.out_size.height * args.groups);
    const std::int8_t* x = args.x + image * args.x_step.image + group * channels * args.x_step.channel;
    for (std::int64_t column = 0; column < args.out_size.width; ++column) {
      gather(args, x, row * args.stride.height - args.padding.height, column * args.stride.width - args.padding.width,
             patch);
      for (std::int64_t o = group * filters; o < (group + 1) * filters; ++o) {
        const std::int32_t sum = add_bias(dot(patch, weight + o * length, length), args.bias[o]);
        const std::int8_t y = requantize(sum, args.multiplier[o], args.limit.lo, args.limit.hi);
        args.out[at_step(args.out_step, image, o, row, column)] =
            plus(y, args.added, at_step(args.added.step, image, o, row, column));
      }
    }
  }
}

}  // namespace edgekit
