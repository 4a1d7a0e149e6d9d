// Functions of one value, as torch computes them but in float64 where they are not exact: the result is that of torch
// to the last bit or the one beside it.
#pragma once

#include <cmath>

namespace edgekit {

inline float relu(float x) {
  return x < 0 ? 0.0f : x;  // NaN stays
}

// Half to even, of any size: above 2^23 every float is whole.
inline float round_to_even(float x) {
  return std::nearbyint(x);
}

inline double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

inline double log_sigmoid(double x) {
  return std::fmin(x, 0.0) - std::log1p(std::exp(-std::fabs(x)));
}

inline double softplus(double x) {
  return x > 20 ? x : std::log1p(std::exp(x));  // torch's threshold
}

inline double gelu(double x) {
  return 0.5 * x * std::erfc(-x * 0.70710678118654752440);  // 1 + erf would cancel
}

inline double gelu_tanh(double x) {
  return x * sigmoid(1.59576912160573071176 * (x + 0.044715 * x * x * x));  // 0.5 + 0.5 tanh(u) is sigmoid(2 u)
}

inline float sigmoid_f32(float x) {
  return static_cast<float>(sigmoid(x));
}

inline float tanh_f32(float x) {
  return static_cast<float>(std::tanh(static_cast<double>(x)));
}

}  // namespace edgekit
