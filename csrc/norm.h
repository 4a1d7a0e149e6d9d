// What the normalising kernels share, the twin of edgekit/ops/norm.py: exact sums of a set of int8 values, and the
// float64 factor of the set. A set has N < 2^24 values, so |sum| < 2^31, squares <= 2^38, and every product below is at
// most 2^62: int64 holds it.
#pragma once

#include <cmath>
#include <cstdint>

#include "requant.h"

namespace edgekit {

struct set_sums {
  std::int64_t sum, squares;
};

inline set_sums sums_of(const std::int8_t* x, std::int64_t n) {
  set_sums total = {0, 0};
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t q = x[i];
    total.sum += q;
    total.squares += q * q;
  }
  return total;
}

// float32(r / N), r = sx / sqrt(sx*sx*V / (N*N) + eps) with V = N*Q - S*S, left to right in float64.
inline float deviation_factor(set_sums set, std::int64_t n, double scale, double eps) {
  const double count = static_cast<double>(n);
  const double variance = static_cast<double>(n * set.squares - set.sum * set.sum);
  const double r = scale / std::sqrt(scale * scale * variance / (count * count) + eps);
  return static_cast<float>(r / count);
}

// float32(N*q - S) * c: the normalised value, one rounding in the conversion and one in the product.
inline float normalised(std::int8_t q, set_sums set, std::int64_t n, float factor) {
  return static_cast<float>(n * q - set.sum) * factor;
}

// t * gain + offset, two roundings: -ffp-contract=off keeps the compiler from fusing them.
inline float affine_sum(float t, float gain, float offset) {
  const float product = t * gain;
  return product + offset;
}

// sat8(rne(t * gain + offset)).
inline std::int8_t affine(float t, float gain, float offset) {
  return saturate(affine_sum(t, gain, offset), -128, 127);
}

}  // namespace edgekit
