// fake_quantize_backward for AVX2: the plain loops, in which the compiler uses vectors of eight and vdivps, a true
// division.
#include "../plain_fake_quantize.h"

#if defined(__x86_64__)

namespace edgekit {

__attribute__((target("avx2,fma"))) void fake_quantize_backward_avx2(const fake_quantize_backward_args& args) {
  plain::fake_quantize_backward(args);
}

}  // namespace edgekit

#endif
