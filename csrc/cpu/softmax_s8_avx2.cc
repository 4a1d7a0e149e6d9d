// softmax_s8 for AVX2: the plain loops of plain_rows.h, which the compiler makes vectors of.
#include "../plain_rows.h"

#if defined(__x86_64__)

namespace edgekit {

__attribute__((target("avx2,fma"))) void softmax_s8_avx2(const softmax_s8_args& args, const part& part) {
  plain::softmax(args, part);
}

}  // namespace edgekit

#endif
