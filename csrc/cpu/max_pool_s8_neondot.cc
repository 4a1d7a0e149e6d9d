// max_pool_s8 for NEON: the plain loops of plain.h, which the compiler makes vectors of.
#include "../plain.h"

#if defined(__aarch64__)

namespace edgekit {

void max_pool_s8_neondot(const max_pool_s8_args& args, const part& part) {
  plain::max_pool(args, part);
}

}  // namespace edgekit

#endif
