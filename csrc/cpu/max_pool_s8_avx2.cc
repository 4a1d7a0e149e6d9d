// max_pool_s8 for AVX2: the plain loops of plain.h, which the compiler makes vectors of.
#include "../plain.h"

#if defined(__x86_64__)

namespace edgekit {

__attribute__((target("avx2,fma"))) void max_pool_s8_avx2(const max_pool_s8_args& args, const part& part) {
  plain::max_pool(args, part);
}

}  // namespace edgekit

#endif
