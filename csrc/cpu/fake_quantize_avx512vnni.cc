// fake_quantize for AVX-512: the plain loops, with masks in place of blends.
#include "../plain_fake_quantize.h"
#include "../vnni.h"

#if defined(__x86_64__)

namespace edgekit {

EDGEKIT_VNNI_TARGET void fake_quantize_avx512vnni(const fake_quantize_args& args) {
  plain::fake_quantize(args);
}

}  // namespace edgekit

#endif
