// add_s8, normative: out = sat8(rne(fma(float32(a), ratio_a, float32(b) * ratio_b))).
#include "../arith.h"
#include "../ops.h"

namespace edgekit {

void add_s8_ref(const add_s8_args& args) {
  const add_s8_args own = args;  // a copy, since a store of bytes might change what args points to
  for (std::int64_t i = 0; i < own.size; ++i) {
    own.out[i] = saturate(fused_sum(own.a[i], own.ratio_a, own.b[i], own.ratio_b), own.limit.lo, own.limit.hi);
  }
}

}  // namespace edgekit
