// mul_s8 for AVX-512: 64 values at a time. A product of two bytes is exact in float32.
#include "../part.h"
#include "../vnni.h"

#if defined(__x86_64__)

namespace edgekit {

namespace {

using namespace vnni;

EDGEKIT_VNNI_TARGET void row(const mul_s8_args& args, const std::int8_t* a, const std::int8_t* b, std::int8_t* out,
                             std::int64_t length, std::int64_t step_a, std::int64_t step_b) {
  const __m512 multiplier = _mm512_set1_ps(args.multiplier), most_float = _mm512_set1_ps(1024.0f);
  const __m512i least = _mm512_set1_epi8(static_cast<char>(args.limit.lo)),
                most = _mm512_set1_epi8(static_cast<char>(args.limit.hi)),
                flip = _mm512_set1_epi8(static_cast<char>(args.flip));
  for (std::int64_t at = 0; at < length; at += 64) {
    const __mmask64 taken = first(length - at);
    const Quarters own = widened_all(operand(a, step_a, at, taken, flip)),
                   other = widened_all(operand(b, step_b, at, taken, flip));
    __m512i y[4];
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(own.value[q]), _mm512_cvtepi32_ps(other.value[q]));
      // A multiplier may be as large as float32: above 2^31 the conversion would give the least number.
      y[q] = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_mul_ps(product, multiplier), most_float));
    }
    _mm512_mask_storeu_epi8(out + at, taken, in_order(pack(y[0], y[1], y[2], y[3], least, most, flip)));
  }
}

}  // namespace

void mul_s8_avx512vnni(const mul_s8_args& args, const part& part) {
  for_each_row_of(
      args.shape, part,
      [&args](std::int64_t a, std::int64_t b, std::int64_t out, std::int64_t length, std::int64_t step_a,
              std::int64_t step_b) { row(args, args.a + a, args.b + b, args.out + out, length, step_a, step_b); });
}

}  // namespace edgekit

#endif
