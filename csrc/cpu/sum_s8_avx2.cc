// sum_s8 for AVX2: the plain loops of plain.h, which the compiler makes vectors of.
#include "../plain.h"

#if defined(__x86_64__)

namespace edgekit {

const char* sum_s8_avx2_refuses(const sum_s8_args& args) {
  return plain::sum_refuses(args);
}

__attribute__((target("avx2,fma"))) void sum_s8_avx2(const sum_s8_args& args, const part& part) {
  plain::sum(args, part);
}

}  // namespace edgekit

#endif
