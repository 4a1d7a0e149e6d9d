// matmul_s8, normative: out = sat8(rne(float32(a . b) * multiplier)), a and b activations.
// The sum fits int32: fan_in <= 131,071 products of at most 2^14 each.
#include <algorithm>

#include "../ops.h"
#include "../part.h"
#include "../requant.h"

namespace edgekit {

namespace {

// A row at a time, so that b is read in order.
void one_matrix(const matmul_s8_args& args, const std::int8_t* a, const std::int8_t* b, std::int8_t* out,
                std::int32_t* sums) {
  for (std::int64_t row = 0; row < args.rows; ++row, a += args.fan_in, out += args.columns) {
    std::fill_n(sums, args.columns, 0);
    for (std::int64_t k = 0; k < args.fan_in; ++k)
      for (std::int64_t j = 0; j < args.columns; ++j) sums[j] += a[k] * b[k * args.columns + j];
    for (std::int64_t j = 0; j < args.columns; ++j)
      out[j] = requantize(sums[j], args.multiplier, args.limit.lo, args.limit.hi);
  }
}

}  // namespace

std::size_t matmul_s8_ref_scratch(const matmul_s8_args& args) {
  return static_cast<std::size_t>(args.columns) * sizeof(std::int32_t);
}

void matmul_s8_ref(const matmul_s8_args& args, const part& part) {
  if (part.index != 0) return;
  auto* sums = static_cast<std::int32_t*>(part.scratch);
  for_each_row(args.batch, [&](std::int64_t a, std::int64_t b, std::int64_t out, std::int64_t length,
                               std::int64_t step_a, std::int64_t step_b) {
    for (std::int64_t i = 0; i < length; ++i)
      one_matrix(args, args.a + (a + i * step_a) * args.rows * args.fan_in,
                 args.b + (b + i * step_b) * args.fan_in * args.columns,
                 args.out + (out + i) * args.rows * args.columns, sums);
  });
}

}  // namespace edgekit
