// add_s8, normative: out = sat8(rne(fma(float32(a), ratio_a, float32(b) * ratio_b))).
// One rounded product, then one fused multiply-add; -ffp-contract=off keeps the compiler from fusing the other one too.
#include <cmath>

#include "../ops.h"
#include "../requant.h"

namespace edgekit {

void add_s8_ref(const add_s8_args& args) {
  const add_s8_args own = args;  // a copy, since a store of bytes might change what args points to
  for (std::int64_t i = 0; i < own.size; ++i) {
    const float second = static_cast<float>(own.b[i]) * own.ratio_b;
    const float sum = std::fma(static_cast<float>(own.a[i]), own.ratio_a, second);
    own.out[i] = saturate(sum, own.limit.lo, own.limit.hi);
  }
}

}  // namespace edgekit
