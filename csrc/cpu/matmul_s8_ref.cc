// matmul_s8, normative: out = sat8(rne(float32(a . b) * multiplier)), a and b activations.
// The sum fits int32: fan_in <= 131,071 products of at most 2^14 each.
#include <vector>

#include "../ops.h"
#include "../requant.h"

namespace edgekit {

namespace {

void one_matrix(const matmul_s8_args& args, const std::int8_t* a, const std::int8_t* b, std::int8_t* out) {
  std::vector<std::int32_t> sums(
      static_cast<std::size_t>(args.columns));  // a row at a time, so that b is read in order
  for (std::int64_t row = 0; row < args.rows; ++row, a += args.fan_in, out += args.columns) {
    sums.assign(sums.size(), 0);
    for (std::int64_t k = 0; k < args.fan_in; ++k)
      for (std::int64_t j = 0; j < args.columns; ++j) sums[j] += a[k] * b[k * args.columns + j];
    for (std::int64_t j = 0; j < args.columns; ++j)
      out[j] = requantize(sums[j], args.multiplier, args.limit.lo, args.limit.hi);
  }
}

}  // namespace

void matmul_s8_ref(const matmul_s8_args& args) {
  for_each_row(args.batch, [&args](std::int64_t a, std::int64_t b, std::int64_t out, std::int64_t length,
                                   std::int64_t step_a, std::int64_t step_b) {
    for (std::int64_t i = 0; i < length; ++i)
      one_matrix(args, args.a + (a + i * step_a) * args.rows * args.fan_in,
                 args.b + (b + i * step_b) * args.fan_in * args.columns,
                 args.out + (out + i) * args.rows * args.columns);
  });
}

}  // namespace edgekit
