// The pieces of a step of a recurrent layer; each is the operator of its own name, one value at a time.
#pragma once

#include <cstdint>

#include "arith.h"
#include "requant.h"

namespace edgekit {

// One value of linear_s8: row `row` of the weight times the state. At most 131,071 products of 2^14: int32 holds them.
struct recurrent_weight {
  const std::int8_t* weight;  // [rows, units]
  const std::int32_t* bias;   // [rows]
  const float* multiplier;    // [rows]
  std::int64_t units;

  std::int8_t hidden(const std::int8_t* h, std::int64_t row) const {
    std::int32_t sum = 0;
    for (std::int64_t i = 0; i < units; ++i) sum += std::int32_t{weight[row * units + i]} * h[i];
    return requantize(add_bias(sum, bias[row]), multiplier[row], -128, 127);
  }
};

inline std::int8_t add(std::int8_t a, float ratio_a, std::int8_t b, float ratio_b) {
  return saturate(fused_sum(a, ratio_a, b, ratio_b), -128, 127);
}

inline std::int8_t look_up(const std::int8_t* table, std::int8_t q) {
  return table[q + 128];
}

// The function in `table` of the sum of a gate's two parts.
inline std::int8_t gate(std::int8_t part, float ratio_part, std::int8_t hidden, float ratio_hidden,
                        const std::int8_t* table) {
  return look_up(table, add(part, ratio_part, hidden, ratio_hidden));
}

}  // namespace edgekit
