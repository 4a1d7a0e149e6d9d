// Functions of one value, as torch computes them but in float64 where they are not exact: the result is the float that
// is nearest, or for a library's last bit in float64 the one beside it. One for each name in functions.h.
#pragma once

#include <cmath>

namespace edgekit::functions {

inline double sigmoid_f64(double x) {
  return 1 / (1 + std::exp(-x));
}

inline double softplus_f64(double x) {
  return x > 20 ? x : std::log1p(std::exp(x));  // torch's threshold
}

inline float neg(float x) {
  return -x;
}

inline float abs(float x) {
  return std::fabs(x);
}

inline float sign(float x) {
  return static_cast<float>((x > 0) - (x < 0));
}

inline float relu(float x) {
  return x < 0 ? 0.0f : x;  // NaN stays
}

inline float sqrt(float x) {
  return std::sqrt(x);
}

inline float reciprocal(float x) {
  return 1 / x;
}

inline float floor(float x) {
  return std::floor(x);
}

inline float ceil(float x) {
  return std::ceil(x);
}

inline float trunc(float x) {
  return std::trunc(x);
}

inline float round(float x) {
  return std::nearbyint(x);  // half to even
}

#define LIBRARY(name)                                             \
  inline float name(float x) {                                    \
    return static_cast<float>(std::name(static_cast<double>(x))); \
  }
LIBRARY(exp)
LIBRARY(exp2)
LIBRARY(expm1)
LIBRARY(log)
LIBRARY(log2)
LIBRARY(log10)
LIBRARY(log1p)
LIBRARY(sin)
LIBRARY(cos)
LIBRARY(tan)
LIBRARY(asin)
LIBRARY(acos)
LIBRARY(atan)
LIBRARY(sinh)
LIBRARY(cosh)
LIBRARY(tanh)
LIBRARY(asinh)
LIBRARY(acosh)
LIBRARY(atanh)
LIBRARY(erf)
LIBRARY(erfc)
#undef LIBRARY

inline float rsqrt(float x) {
  return static_cast<float>(1 / std::sqrt(static_cast<double>(x)));
}

inline float sigmoid(float x) {
  return static_cast<float>(sigmoid_f64(x));
}

inline float log_sigmoid(float value) {
  const double x = value;
  return static_cast<float>(std::fmin(x, 0.0) - std::log1p(std::exp(-std::fabs(x))));
}

inline float silu(float x) {
  return static_cast<float>(x * sigmoid_f64(x));
}

inline float gelu(float value) {
  const double x = value;
  return static_cast<float>(0.5 * x * std::erfc(-x * 0.70710678118654752440));  // 1 + erf would cancel
}

inline float gelu_tanh(float value) {
  const double x = value;  // 0.5 + 0.5 tanh(u) is sigmoid(2 u)
  return static_cast<float>(x * sigmoid_f64(1.59576912160573071176 * (x + 0.044715 * x * x * x)));
}

inline float softplus(float x) {
  return static_cast<float>(softplus_f64(x));
}

inline float mish(float x) {
  return static_cast<float>(x * std::tanh(softplus_f64(x)));
}

}  // namespace edgekit::functions
