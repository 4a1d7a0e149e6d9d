// A depthwise convolution in plain loops over channels that lie side by side, for tiers without a kernel of their own.
// The loops have the length of a block, so that the compiler makes vectors of them, of the target of the function that
// they are inlined into; weights are widened once.
//
//   packed = weight int16 [row][column][channel]
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "ops.h"
#include "part.h"
#include "residual.h"

namespace edgekit {

inline bool is_depthwise(const conv2d_s8_args& args) {
  return args.groups > 1 && args.groups == args.in_channels && args.groups == args.out_channels;
}

inline std::size_t depthwise_packed_bytes(const conv2d_s8_args& args) {
  return static_cast<std::size_t>(args.kernel.height * args.kernel.width * args.out_channels) * sizeof(std::int16_t);
}

inline void pack_depthwise(const conv2d_s8_args& args, void* to) {
  auto* weight = static_cast<std::int16_t*>(to);
  for (std::int64_t row = 0; row < args.kernel.height; ++row)
    for (std::int64_t column = 0; column < args.kernel.width; ++column)
      for (std::int64_t o = 0; o < args.out_channels; ++o)
        *weight++ =
            args.weight[o * args.weight_step.image + row * args.weight_step.row + column * args.weight_step.column];
}

// `kBlock` channels of one pixel: x is the first tap, `other` the place in what is added.
template <int kBlock>
__attribute__((always_inline)) inline void depthwise_block(const conv2d_s8_args& args, const std::int8_t* x,
                                                           std::int64_t channel, int count, std::int8_t* out,
                                                           std::int64_t other) {
  std::int32_t sum[kBlock] = {};
  const auto* weight = static_cast<const std::int16_t*>(args.packed) + channel;
  for (std::int64_t row = 0; row < args.kernel.height; ++row)
    for (std::int64_t column = 0; column < args.kernel.width; ++column, weight += args.out_channels) {
      const std::int8_t* tap =
          x + row * args.dilation.height * args.x_step.row + column * args.dilation.width * args.x_step.column;
      if (count == kBlock) {
        for (int c = 0; c < kBlock; ++c) sum[c] += tap[c] * weight[c];
      } else {
        for (int c = 0; c < count; ++c) sum[c] += tap[c] * weight[c];
      }
    }
  for (int c = 0; c < count; ++c) {
    const std::int32_t biased = add_bias(sum[c], args.bias[channel + c]);
    const std::int8_t y = requantize(biased, args.multiplier[channel + c], args.limit.lo, args.limit.hi);
    out[c] = plus(y, args.added, other + c);
  }
}

__attribute__((always_inline)) inline void depthwise(const conv2d_s8_args& args, const part& part) {
  constexpr int kBlock = 16;
  const range rows = share_of(args.images * args.out_size.height, part);
  for (std::int64_t at = rows.begin; at < rows.end; ++at) {
    const std::int64_t image = at / args.out_size.height, row = at % args.out_size.height;
    for (std::int64_t column = 0; column < args.out_size.width; ++column) {
      const std::int8_t* x = args.x + image * args.x_step.image +
                             (row * args.stride.height - args.padding.height) * args.x_step.row +
                             (column * args.stride.width - args.padding.width) * args.x_step.column;
      std::int8_t* out = args.out + at_step(args.out_step, image, 0, row, column);
      const std::int64_t other = at_step(args.added.step, image, 0, row, column);
      for (std::int64_t channel = 0; channel < args.out_channels; channel += kBlock)
        depthwise_block<kBlock>(args, x + channel, channel,
                                static_cast<int>(std::min<std::int64_t>(args.out_channels - channel, kBlock)),
                                out + channel, other + channel);
    }
  }
}

}  // namespace edgekit
