// rms_norm_s8 for AVX-512: the plain loops of plain_rows.h, which the compiler makes vectors of.
#include "../plain_rows.h"
#include "../vnni.h"

#if defined(__x86_64__)

namespace edgekit {

EDGEKIT_VNNI_TARGET void rms_norm_s8_avx512vnni(const rms_norm_s8_args& args, const part& part) {
  plain::rms_norm(args, part);
}

}  // namespace edgekit

#endif
