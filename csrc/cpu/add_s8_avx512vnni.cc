// add_s8 for AVX-512: 64 values at a time, the same fused sum in sixteen lanes. |sum| <= 2^29, since ratios are at most
// 2^20.
#include "../part.h"
#include "../vnni.h"

#if defined(__x86_64__)

namespace edgekit {

namespace {

using namespace vnni;

EDGEKIT_VNNI_TARGET void row(const add_s8_args& args, const std::int8_t* a, const std::int8_t* b, std::int8_t* out,
                             std::int64_t length, std::int64_t step_a, std::int64_t step_b) {
  const __m512 ratio_a = _mm512_set1_ps(args.ratio_a), ratio_b = _mm512_set1_ps(args.ratio_b);
  const __m512i least = _mm512_set1_epi8(static_cast<char>(args.limit.lo)),
                most = _mm512_set1_epi8(static_cast<char>(args.limit.hi)),
                flip = _mm512_set1_epi8(static_cast<char>(args.flip));
  for (std::int64_t at = 0; at < length; at += 64) {
    const __mmask64 taken = first(length - at);
    const Quarters own = widened_all(operand(a, step_a, at, taken, flip)),
                   other = widened_all(operand(b, step_b, at, taken, flip));
    __m512i sum[4];
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const __m512 second = _mm512_mul_ps(_mm512_cvtepi32_ps(other.value[q]), ratio_b);
      sum[q] = _mm512_cvtps_epi32(_mm512_fmadd_ps(_mm512_cvtepi32_ps(own.value[q]), ratio_a, second));
    }
    _mm512_mask_storeu_epi8(out + at, taken, in_order(pack(sum[0], sum[1], sum[2], sum[3], least, most, flip)));
  }
}

}  // namespace

void add_s8_avx512vnni(const add_s8_args& args, const part& part) {
  for_each_row_of(
      args.shape, part,
      [&args](std::int64_t a, std::int64_t b, std::int64_t out, std::int64_t length, std::int64_t step_a,
              std::int64_t step_b) { row(args, args.a + a, args.b + b, args.out + out, length, step_a, step_b); });
}

}  // namespace edgekit

#endif
