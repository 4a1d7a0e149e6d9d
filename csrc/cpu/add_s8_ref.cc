// add_s8, normative: out = sat8(rne(fma(float32(a), ratio_a, float32(b) * ratio_b))).
// One rounded product, then one fused multiply-add; -ffp-contract=off keeps the compiler from fusing the other one too.
#include <cmath>

#include "../ops.h"
#include "../requant.h"

namespace edgekit {

void add_s8_ref(const add_s8_args& args) {
  for (std::int64_t i = 0; i < args.size; ++i) {
    const float second = static_cast<float>(args.b[i]) * args.ratio_b;
    const float sum = std::fma(static_cast<float>(args.a[i]), args.ratio_a, second);
    args.out[i] = saturate(sum, args.limit.lo, args.limit.hi);
  }
}

}  // namespace edgekit
