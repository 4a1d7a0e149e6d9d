// add_s8, normative: out = sat8(rne(fma(float32(a), ratio_a, float32(b) * ratio_b))).
#include "../arith.h"
#include "../ops.h"

namespace edgekit {

void add_s8_ref(const add_s8_args& args) {
  const add_s8_args own = args;  // a copy, since a store of bytes might change what args points to
  for_each_row(own.shape, [&own](std::int64_t a, std::int64_t b, std::int64_t out, std::int64_t length,
                                 std::int64_t step_a, std::int64_t step_b) {
    for (std::int64_t i = 0; i < length; ++i) {
      const float sum = fused_sum(own.a[a + i * step_a], own.ratio_a, own.b[b + i * step_b], own.ratio_b);
      own.out[out + i] = saturate(sum, own.limit.lo, own.limit.hi);
    }
  });
}

}  // namespace edgekit
