// quantize_s8 for AVX2, one scale for all: 32 values at a time, by a true division, and planes.h around it.
#include "../avx2.h"
#include "../planes.h"
#include "../weave.h"

#if defined(__x86_64__)

namespace edgekit {

namespace {

using namespace avx2;

struct Divide {
  __m256 scale, lo, hi;
};

// rne of the clamped quotient; NaN counts as 0, which is clamped too.
EDGEKIT_AVX2 __m256i quotient(__m256 x, const Divide& by) {
  const __m256 value = _mm256_div_ps(x, by.scale);
  const __m256 number = _mm256_and_ps(value, _mm256_cmp_ps(value, value, _CMP_ORD_Q));
  return _mm256_cvtps_epi32(clamp(number, by.lo, by.hi));
}

// Rows of images are often short: what is left of 32 goes by eight.
EDGEKIT_AVX2_TARGET void line(const quantize_s8_args& args, const float* x, std::int64_t count, std::int8_t* out) {
  const Divide by = {_mm256_set1_ps(*args.scale), all(args.limit.lo), all(args.limit.hi)};
  std::int64_t at = 0;
  for (; at + 32 <= count; at += 32) {
    __m256i y[4];
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) y[q] = quotient(_mm256_loadu_ps(x + at + q * 8), by);
    const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(y[0], y[1]), _mm256_packs_epi32(y[2], y[3]));
    const __m256i in_order = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + at), in_order);
  }
  for (; at < count; at += 8) {
    const int left = count - at < 8 ? static_cast<int>(count - at) : 8;
    const __m256i taken = _mm256_cmpgt_epi32(_mm256_set1_epi32(left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    const __m256i y = quotient(_mm256_maskload_ps(x + at, taken), by);
    store(reinterpret_cast<std::uint8_t*>(out + at), _mm256_permute4x64_epi64(_mm256_packs_epi32(y, y), 8), left);
  }
}

EDGEKIT_AVX2_TARGET void weave(const std::int8_t* from, std::int64_t count, std::int8_t* out) {
  planes::weave(from, count, out);
}

}  // namespace

const char* quantize_s8_avx2_refuses(const quantize_s8_args& args) {
  return planes::refuses(args);
}

void quantize_s8_avx2(const quantize_s8_args& args, const part& part) {
  planes::quantize(args, part, {line, weave});
}

}  // namespace edgekit

#endif
