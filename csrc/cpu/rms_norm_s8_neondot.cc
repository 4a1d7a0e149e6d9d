// rms_norm_s8 for NEON: the plain loops of plain_rows.h, which the compiler makes vectors of.
#include "../plain_rows.h"

#if defined(__aarch64__)

namespace edgekit {

void rms_norm_s8_neondot(const rms_norm_s8_args& args, const part& part) {
  plain::rms_norm(args, part);
}

}  // namespace edgekit

#endif
