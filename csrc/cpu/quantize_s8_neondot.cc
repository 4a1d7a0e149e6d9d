// quantize_s8 for NEON: the plain loops of plain.h, which the compiler makes vectors of.
#include "../plain.h"

#if defined(__aarch64__)

namespace edgekit {

const char* quantize_s8_neondot_refuses(const quantize_s8_args& args) {
  return args.channels == 1 ? nullptr : "a scale for each channel";
}

void quantize_s8_neondot(const quantize_s8_args& args, const part& part) {
  plain::quantize(args, part);
}

}  // namespace edgekit

#endif
