// fake_quantize for NEON: the plain loops, which the compiler makes vectors of.
#include "../plain_fake_quantize.h"

#if defined(__aarch64__)

namespace edgekit {

void fake_quantize_neondot(const fake_quantize_args& args) {
  plain::fake_quantize(args);
}

}  // namespace edgekit

#endif
