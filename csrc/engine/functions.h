// What the pointwise words and the reduction of a plan compute: `function` in their attributes is a number in these
// lists, to which names are only added at the end. Meanings: docs/plan.md. edgekit/export/native/words.py mirrors them,
// and a test compares the two.
#pragma once

#include <cstdint>

// clang-format off
#define EDGEKIT_BINARY(F) F(add) F(sub) F(mul) F(div) F(max) F(min) F(pow)
#define EDGEKIT_COMPARISON(F) F(eq) F(ne) F(lt) F(le) F(gt) F(ge)
// The first line is exact, or rounded once; the others are computed in float64 and then rounded.
#define EDGEKIT_UNARY(F)                                                                                      \
  F(neg) F(abs) F(sign) F(relu) F(sqrt) F(reciprocal) F(floor) F(ceil) F(trunc) F(round)                      \
  F(rsqrt) F(exp) F(exp2) F(expm1) F(log) F(log2) F(log10) F(log1p)                                           \
  F(sin) F(cos) F(tan) F(asin) F(acos) F(atan) F(sinh) F(cosh) F(tanh) F(asinh) F(acosh) F(atanh)             \
  F(erf) F(erfc) F(sigmoid) F(log_sigmoid) F(silu) F(gelu) F(gelu_tanh) F(softplus) F(mish)
#define EDGEKIT_REDUCTION(F) F(sum) F(mean) F(max) F(min) F(argmax) F(argmin)
// clang-format on

namespace edgekit::plan {

#define EDGEKIT_NAME(name) name,
enum class binary : std::uint32_t { EDGEKIT_BINARY(EDGEKIT_NAME) count };
enum class comparison : std::uint32_t { EDGEKIT_COMPARISON(EDGEKIT_NAME) count };
enum class unary : std::uint32_t { EDGEKIT_UNARY(EDGEKIT_NAME) count };
enum class reduction : std::uint32_t { EDGEKIT_REDUCTION(EDGEKIT_NAME) count };
#undef EDGEKIT_NAME

}  // namespace edgekit::plan
