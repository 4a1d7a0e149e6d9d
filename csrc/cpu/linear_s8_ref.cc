// linear_s8, normative: out = sat8(rne(float32(x . w + bias) * multiplier)); then what is added.
// The dot product is exact: fan_in <= 131,071, and 131,071 * 128 * 128 < 2^31.
#include "../ops.h"
#include "../part.h"
#include "../residual.h"

namespace edgekit {

namespace {

std::int32_t dot(const std::int8_t* x, const std::int8_t* weight, std::int64_t fan_in) {
  std::int32_t sum = 0;
  for (std::int64_t k = 0; k < fan_in; ++k) sum += x[k] * weight[k];
  return sum;
}

}  // namespace

void linear_s8_ref(const linear_s8_args& args, const part& part) {
  const range rows = share_of(args.rows, part);
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    for (std::int64_t n = 0; n < args.features; ++n) {
      const std::int32_t sum = dot(args.x + row * args.fan_in, args.weight + n * args.fan_in, args.fan_in);
      const std::int8_t y = requantize(add_bias(sum, args.bias[n]), args.multiplier[n], args.limit.lo, args.limit.hi);
      args.out[row * args.features + n] = plus(y, args.added, row * args.added.step.row + n);
    }
  }
}

}  // namespace edgekit
