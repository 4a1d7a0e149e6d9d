// fake_quantize_backward for NEON: the plain loops, which the compiler makes vectors of.
#include "../plain_fake_quantize.h"

#if defined(__aarch64__)

namespace edgekit {

void fake_quantize_backward_neondot(const fake_quantize_backward_args& args) {
  plain::fake_quantize_backward(args);
}

}  // namespace edgekit

#endif
