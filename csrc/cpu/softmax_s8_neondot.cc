// softmax_s8 for NEON: the plain loops of plain_rows.h, which the compiler makes vectors of.
#include "../plain_rows.h"

#if defined(__aarch64__)

namespace edgekit {

void softmax_s8_neondot(const softmax_s8_args& args, const part& part) {
  plain::softmax(args, part);
}

}  // namespace edgekit

#endif
