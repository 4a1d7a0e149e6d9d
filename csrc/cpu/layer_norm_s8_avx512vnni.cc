// layer_norm_s8 for AVX-512: norm_avx512vnni.h, and for very long rows the plain loops of plain_rows.h.
#include "../norm_avx512vnni.h"
#include "../plain_rows.h"

#if defined(__x86_64__)

namespace edgekit {

EDGEKIT_VNNI_TARGET void layer_norm_s8_avx512vnni(const layer_norm_s8_args& args, const part& part) {
  if (args.length > vnni::kLongestRow) return plain::layer_norm(args, part);
  vnni::normalise_rows(args, args.offset, true, part);
}

}  // namespace edgekit

#endif
