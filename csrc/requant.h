// The one rounding of the C++ tiers: float32 to int8, the twin of edgekit/ops/numerics.py and kernels/requant.py.
#pragma once

#include <cfloat>
#include <cstdint>
#include <limits>

#ifdef __FAST_MATH__
#error "edgekit is exact: -ffast-math and its parts must be off"
#endif

namespace edgekit {

static_assert(std::numeric_limits<float>::is_iec559 && FLT_EVAL_METHOD == 0,
              "float must be IEEE 754 binary32, unwidened");

// Rounds half to even, for |value| <= 2^22. The sum lies in [2^23, 2^24], where float32 has a spacing of exactly 1, so
// the addition itself rounds to an integer by IEEE 754's default rule; the subtraction is exact. Unlike nearbyint it is
// the same one instruction on every target, vectorises, and needs no libm.
inline float round_half_even(float value) {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23
  return (value + kShift) - kShift;
}

// Clamps to [lo, hi] within 22 bits, then rounds, then converts: conversion of an out-of-range float is undefined and
// differs between ISAs. NaN counts as 0.
inline std::int32_t clamp_and_round(float value, int lo, int hi) {
  const float low = static_cast<float>(lo), high = static_cast<float>(hi);
  value = value == value ? value : 0.0f;
  value = value < low ? low : value;
  value = value > high ? high : value;
  return static_cast<std::int32_t>(round_half_even(value));
}

inline std::int8_t saturate(float value, int lo, int hi) {
  return static_cast<std::int8_t>(clamp_and_round(value, lo, hi));
}

inline std::int16_t saturate16(float value) {
  return static_cast<std::int16_t>(clamp_and_round(value, -32768, 32767));
}

// Float to int8 with a true division; multiplying by 1 / scale goes wrong on ties.
inline std::int8_t quantize(float value, float scale, int lo, int hi) {
  return saturate(value / scale, lo, hi);
}

// Exact accumulator to int8; the conversion to float32 rounds half to even as well.
inline std::int8_t requantize(std::int32_t accumulator, float multiplier, int lo, int hi) {
  return saturate(static_cast<float>(accumulator) * multiplier, lo, hi);
}

// Adds the bias modulo 2^32, as the vector instructions do; biases that edgekit makes leave room.
inline std::int32_t add_bias(std::int32_t sum, std::int32_t bias) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(sum) + static_cast<std::uint32_t>(bias));
}

}  // namespace edgekit
