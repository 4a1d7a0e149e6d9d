// quantize_s8 for AVX2: the plain loops of plain.h, which the compiler makes vectors of.
#include "../plain.h"

#if defined(__x86_64__)

namespace edgekit {

const char* quantize_s8_avx2_refuses(const quantize_s8_args& args) {
  return args.channels == 1 ? nullptr : "a scale for each channel";
}

__attribute__((target("avx2,fma"))) void quantize_s8_avx2(const quantize_s8_args& args, const part& part) {
  plain::quantize(args, part);
}

}  // namespace edgekit

#endif
