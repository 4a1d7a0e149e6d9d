// mul_s8, normative: out = sat8(rne(float32(a * b) * multiplier)). The product is below 2^15, exact in float32.
#include "../ops.h"
#include "../requant.h"

namespace edgekit {

void mul_s8_ref(const mul_s8_args& args) {
  const mul_s8_args own = args;  // a copy, since a store of bytes might change what args points to
  for_each_row(own.shape, [&own](std::int64_t a, std::int64_t b, std::int64_t out, std::int64_t length,
                                 std::int64_t step_a, std::int64_t step_b) {
    for (std::int64_t i = 0; i < length; ++i) {
      const std::int32_t product = own.a[a + i * step_a] * own.b[b + i * step_b];
      own.out[out + i] = requantize(product, own.multiplier, own.limit.lo, own.limit.hi);
    }
  });
}

}  // namespace edgekit
