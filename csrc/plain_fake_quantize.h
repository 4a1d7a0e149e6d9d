// fake_quantize and its gradient in plain loops over neighbours, for tiers whose compiler makes vectors of them.
#pragma once

#include <cstdint>
#include <cstring>

#include "ops.h"
#include "plain.h"
#include "requant.h"
#include "sums.h"

namespace edgekit::plain {

EDGEKIT_PLAIN void fake_quantize(const fake_quantize_args& args) {
  const bounds limit = opaque(args.limit);
  for (std::int64_t row = 0; row < args.outer * args.channels; ++row) {
    const float scale = args.scale[row % args.channels];
    const float* __restrict x = args.x + row * args.inner;
    float* __restrict out = args.out + row * args.inner;
    for (std::int64_t i = 0; i < args.inner; ++i)
      out[i] = static_cast<float>(clamp_and_round(x[i] / scale, limit.lo, limit.hi)) * scale;
  }
}

// A quotient rounded where it is within half a step of the bounds, else the number next to the bound that it is beyond;
// NaN stays NaN.
EDGEKIT_PLAIN float near_bounds(float quotient, float lo, float hi) {
  quotient = quotient < lo - 1 ? lo - 1 : quotient;
  quotient = quotient > hi + 1 ? hi + 1 : quotient;
  return round_half_even(quotient);
}

// The value where it is wanted, else 0: without a branch, since a loop with branches does not become vectors.
EDGEKIT_PLAIN float only_if(bool wanted, float value) {
  std::int32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  bits &= -static_cast<std::int32_t>(wanted);
  std::memcpy(&value, &bits, sizeof bits);
  return value;
}

// Neighbours at one scale: the gradient of x, and the slope of the result in the scale where `slope` is given.
EDGEKIT_PLAIN void slopes(const float* __restrict gradient, const float* __restrict x, float scale, bounds limit,
                          std::int64_t size, float* __restrict of_x, float* __restrict slope) {
  const float lo = static_cast<float>(limit.lo), hi = static_cast<float>(limit.hi);
  for (std::int64_t i = 0; i < size; ++i) {
    const float quotient = x[i] / scale, steps = near_bounds(quotient, lo, hi);
    const bool below = steps<lo, above = steps> hi, number = quotient == quotient;
    const bool inside = !below & !above & number;
    of_x[i] = only_if(inside, gradient[i]);
    if (slope) slope[i] = only_if(inside, steps - quotient) + (only_if(below, lo) + only_if(above, hi));
  }
}

// A product of two float32 is exact in float64.
EDGEKIT_PLAIN void backward(const float* gradient, const float* x, float scale, bounds limit, std::int64_t size,
                            float* of_x, ordered_sum& sum) {
  float slope[kSumLanes];
  for (std::int64_t at = 0; at < size; at += kSumLanes) {
    const std::int64_t count = size - at < kSumLanes ? size - at : kSumLanes;
    const float* part = gradient + at;
    slopes(part, x + at, scale, limit, count, of_x + at, slope);
    sum.add(count, [part, &slope](std::int64_t i)
                       __attribute__((always_inline)) { return static_cast<double>(part[i]) * slope[i]; });
  }
}

EDGEKIT_PLAIN void fake_quantize_backward(const fake_quantize_backward_args& args) {
  const bounds limit = opaque(args.limit);
  ordered_sum sum;
  for (std::int64_t channel = 0; channel < args.channels; ++channel) {
    const float scale = args.scale[channel];
    for (std::int64_t row = 0; row < args.outer; ++row) {
      const std::int64_t at = (row * args.channels + channel) * args.inner;
      if (args.of_scale) {
        backward(args.gradient + at, args.x + at, scale, limit, args.inner, args.of_x + at, sum);
      } else {
        slopes(args.gradient + at, args.x + at, scale, limit, args.inner, args.of_x + at, nullptr);
      }
    }
    if (args.of_scale) args.of_scale[channel] = static_cast<float>(sum.total());
  }
}

}  // namespace edgekit::plain
