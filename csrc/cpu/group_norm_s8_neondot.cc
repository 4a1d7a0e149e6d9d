// group_norm_s8 for NEON: the plain loops of plain_rows.h, which the compiler makes vectors of.
#include "../plain_rows.h"

#if defined(__aarch64__)

namespace edgekit {

void group_norm_s8_neondot(const group_norm_s8_args& args, const part& part) {
  plain::group_norm(args, part);
}

}  // namespace edgekit

#endif
