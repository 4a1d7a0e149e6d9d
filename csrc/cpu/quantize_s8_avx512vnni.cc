// quantize_s8 for AVX-512, one scale for all: 64 values at a time, by a true division, and planes.h around it.
#include "../planes.h"
#include "../vnni.h"
#include "../weave.h"

#if defined(__x86_64__)

namespace edgekit {

namespace {

using namespace vnni;

struct Divide {
  __m512 scale, lo, hi;
};

// rne of the clamped quotient; NaN counts as 0, which is clamped too.
EDGEKIT_VNNI __m512i quotient(__m512 x, const Divide& by) {
  const __m512 value = _mm512_div_ps(x, by.scale);
  const __m512 number = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(value, value, _CMP_ORD_Q), value);
  return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(number, by.lo), by.hi));
}

EDGEKIT_VNNI __m128i sixteen(__m512 x, const Divide& by, __m128i flip) {
  return _mm_xor_si128(_mm512_cvtepi32_epi8(quotient(x, by)), flip);
}

// Rows of images are often short: what is left of 64 goes by sixteen, behind no mask where there are as many, since a
// load waits long for bytes of a masked store.
EDGEKIT_VNNI_TARGET void line(const quantize_s8_args& args, const float* x, std::int64_t count, std::int8_t* out) {
  const Divide by = {_mm512_set1_ps(*args.scale), _mm512_set1_ps(static_cast<float>(args.limit.lo)),
                     _mm512_set1_ps(static_cast<float>(args.limit.hi))};
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(args.flip)), least = _mm512_set1_epi8(-128),
                most = _mm512_set1_epi8(127);
  const __m128i flip_few = _mm512_castsi512_si128(flip);
  std::int64_t at = 0;
  for (; at + 64 <= count; at += 64) {
    __m512i y[4];
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) y[q] = quotient(_mm512_loadu_ps(x + at + q * 16), by);
    _mm512_storeu_si512(out + at, in_order(pack(y[0], y[1], y[2], y[3], least, most, flip)));
  }
  for (; at + 16 <= count; at += 16)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + at), sixteen(_mm512_loadu_ps(x + at), by, flip_few));
  if (at == count) return;
  const auto taken = static_cast<__mmask16>(first(count - at));
  _mm_mask_storeu_epi8(out + at, taken, sixteen(_mm512_maskz_loadu_ps(taken, x + at), by, flip_few));
}

EDGEKIT_VNNI_TARGET void weave(const std::int8_t* from, std::int64_t count, std::int8_t* out) {
  planes::weave(from, count, out);
}

}  // namespace

const char* quantize_s8_avx512vnni_refuses(const quantize_s8_args& args) {
  return planes::refuses(args);
}

void quantize_s8_avx512vnni(const quantize_s8_args& args, const part& part) {
  planes::quantize(args, part, {line, weave});
}

}  // namespace edgekit

#endif
