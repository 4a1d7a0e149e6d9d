// What is added to the result of a product while it is in a register: the same bytes as add_s8 behind it.
#pragma once

#include <cstdint>

#include "arith.h"
#include "ops.h"
#include "requant.h"

namespace edgekit {

inline std::int64_t at_step(const steps& step, std::int64_t image, std::int64_t channel, std::int64_t row,
                            std::int64_t column) {
  return image * step.image + channel * step.channel + row * step.row + column * step.column;
}

// y, or its sum with the element of `added` at this offset.
inline std::int8_t plus(std::int8_t y, const residual& added, std::int64_t offset) {
  if (!added.x) return y;
  const std::int8_t x = added.x[offset];
  const float sum =
      added.first ? fused_sum(x, added.x_ratio, y, added.ratio) : fused_sum(y, added.ratio, x, added.x_ratio);
  return saturate(sum, added.limit.lo, added.limit.hi);
}

}  // namespace edgekit
