// Sums and products of quantised values at their scales, shared by the pointwise and the recurrent kernels.
#pragma once

#include <cmath>
#include <cstdint>

#include "requant.h"

namespace edgekit {

// fma(float32(a), ratio_a, float32(b) * ratio_b): one rounded product, then one fused multiply-add;
// -ffp-contract=off keeps the compiler from fusing the other one too.
inline float fused_sum(std::int32_t a, float ratio_a, std::int32_t b, float ratio_b) {
  const float second = static_cast<float>(b) * ratio_b;
  return std::fma(static_cast<float>(a), ratio_a, second);
}

// sat8(rne(float32(a * b) * multiplier)).
inline std::int8_t multiply(std::int32_t a, std::int32_t b, float multiplier) {
  return requantize(a * b, multiplier, -128, 127);
}

}  // namespace edgekit
