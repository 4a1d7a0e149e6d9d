// observe for AVX2: the same code, in which the compiler uses vectors of eight and their minimum. Nothing can overflow:
// a count of 32 bits is emptied every 2^30 values.
#include "../observe.h"

#if defined(__x86_64__)

namespace edgekit {

__attribute__((target("avx2"))) void observe_avx2(const observe_args& args) {
  observe(args);
}

}  // namespace edgekit

#endif
