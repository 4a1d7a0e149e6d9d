// quantize_s8 for AVX-512, one scale for all: 64 values at a time, by a true division.
#include "../part.h"
#include "../vnni.h"

#if defined(__x86_64__)

namespace edgekit {

namespace {

using namespace vnni;

// rne of the clamped quotient; NaN counts as 0, which is clamped too.
EDGEKIT_VNNI __m512i quotient(const float* x, __mmask16 taken, __m512 scale, __m512 lo, __m512 hi) {
  const __m512 value = _mm512_div_ps(_mm512_maskz_loadu_ps(taken, x), scale);
  const __m512 number = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(value, value, _CMP_ORD_Q), value);
  return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(number, lo), hi));
}

EDGEKIT_VNNI_TARGET void quantize(const quantize_s8_args& args, std::int64_t begin, std::int64_t end) {
  const __m512 scale = _mm512_set1_ps(*args.scale), lo = _mm512_set1_ps(static_cast<float>(args.limit.lo)),
               hi = _mm512_set1_ps(static_cast<float>(args.limit.hi));
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(args.flip)), least = _mm512_set1_epi8(-128),
                most = _mm512_set1_epi8(127);
  for (std::int64_t at = begin; at < end; at += 64) {
    const __mmask64 taken = first(end - at);
    __m512i y[4];
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q)
      y[q] = quotient(args.x + at + q * 16, static_cast<__mmask16>(taken >> (q * 16)), scale, lo, hi);
    _mm512_mask_storeu_epi8(args.out + at, taken, in_order(pack(y[0], y[1], y[2], y[3], least, most, flip)));
  }
}

}  // namespace

const char* quantize_s8_avx512vnni_refuses(const quantize_s8_args& args) {
  return args.channels == 1 ? nullptr : "a scale for each channel";
}

void quantize_s8_avx512vnni(const quantize_s8_args& args, const part& part) {
  const std::int64_t all = args.outer * args.inner, lines = (all + 63) / 64;
  const range share = share_of(lines, part);
  quantize(args, share.begin * 64, share.end == lines ? all : share.end * 64);
}

}  // namespace edgekit

#endif
