// sum_s8 for NEON: the plain loops of plain.h, which the compiler makes vectors of.
#include "../plain.h"

#if defined(__aarch64__)

namespace edgekit {

const char* sum_s8_neondot_refuses(const sum_s8_args& args) {
  return plain::sum_refuses(args);
}

void sum_s8_neondot(const sum_s8_args& args, const part& part) {
  plain::sum(args, part);
}

}  // namespace edgekit

#endif
