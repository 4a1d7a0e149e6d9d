// lut_s8 for AVX-512 with VBMI, one table for all: two permutations look up 64 bytes in a table of 256.
#include <cstring>

#include "../isa.h"
#include "../part.h"
#include "../vnni.h"

#if defined(__x86_64__)

namespace edgekit {

namespace {

EDGEKIT_VBMI_TARGET void look_up(const lut_s8_args& args, const std::int8_t* x, std::int8_t* out, std::int64_t length) {
  alignas(64) std::int8_t table[256];  // by the byte as it lies in memory, and answering with one
  for (int byte = 0; byte < 256; ++byte) {
    const auto q = static_cast<std::int8_t>(byte ^ args.flip);
    table[byte] = static_cast<std::int8_t>(args.table[q + 128] ^ args.flip);
  }
  const __m512i t0 = _mm512_load_si512(table), t1 = _mm512_load_si512(table + 64), t2 = _mm512_load_si512(table + 128),
                t3 = _mm512_load_si512(table + 192);
  for (std::int64_t at = 0; at < length; at += 64) {
    const std::int64_t left = length - at;
    const __mmask64 taken = left >= 64 ? ~__mmask64{0} : (__mmask64{1} << left) - 1;
    const __m512i bytes = _mm512_maskz_loadu_epi8(taken, x + at);
    const __m512i low = _mm512_permutex2var_epi8(t0, bytes, t1), high = _mm512_permutex2var_epi8(t2, bytes, t3);
    _mm512_mask_storeu_epi8(out + at, taken, _mm512_mask_blend_epi8(_mm512_movepi8_mask(bytes), low, high));
  }
}

}  // namespace

const char* lut_s8_avx512vnni_refuses(const lut_s8_args& args) {
  if (args.channels != 1) return "a table for each channel";
  return has_vbmi() ? nullptr : "this processor lacks AVX-512 VBMI";
}

void lut_s8_avx512vnni(const lut_s8_args& args, const part& part) {
  const bool dense = args.x_step == args.inner && args.out_step == args.inner;
  if (dense) {
    const std::int64_t lines = (args.outer * args.inner + 63) / 64;
    const range share = share_of(lines, part);
    const std::int64_t begin = share.begin * 64, end = share.end == lines ? args.outer * args.inner : share.end * 64;
    if (end > begin) look_up(args, args.x + begin, args.out + begin, end - begin);
    return;
  }
  const range share = share_of(args.outer, part);
  for (std::int64_t outer = share.begin; outer < share.end; ++outer)
    look_up(args, args.x + outer * args.x_step, args.out + outer * args.out_step, args.inner);
}

}  // namespace edgekit

#endif
