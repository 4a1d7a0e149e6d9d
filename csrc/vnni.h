// Pieces of the AVX-512 VNNI tiers: 512-bit vectors, exact dot products of bytes, and the one way back to bytes.
//
// vpdpbusd adds to each of sixteen int32 four products of an unsigned by a signed byte. Activations are the unsigned
// side: they lie in memory as q + 128 (kBiased), and -128 * sum(weights) goes into the bias. Sums wrap modulo 2^32, as
// the reference's do, so only the end value has to fit.
#pragma once

#if defined(__x86_64__)

// GCC 12 takes its own _mm512_undefined values for a mistake of ours (bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <cstdint>
#include <cstring>

#include "ops.h"

// Every function here is inlined into kernels of this target, so that none exists on its own for the linker to share.
#define EDGEKIT_VNNI_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")))
#define EDGEKIT_VBMI_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,avx2,fma")))
#define EDGEKIT_VNNI EDGEKIT_VNNI_TARGET __attribute__((always_inline)) inline
#define EDGEKIT_VNNI_LAMBDA EDGEKIT_VNNI_TARGET __attribute__((always_inline))

namespace edgekit::vnni {

constexpr int kLanes = 16;  // int32 of a vector

// Unaligned four bytes of activations in every lane.
EDGEKIT_VNNI __m512i broadcast(const std::uint8_t* x) {
  std::int32_t four;
  std::memcpy(&four, x, sizeof four);
  return _mm512_set1_epi32(four);
}

// What happens to a sum on its way to a byte. `wide`: a sum times its multiplier may pass 2^31, where the conversion
// would turn a large positive number into the least one; towards minus infinity it saturates by itself.
struct Finish {
  __m512 ratio, x_ratio;  // of what is added
  __m512i lo, hi;         // bounds of the product before something is added, as int32
  __m512i least, most;    // of the result, as bytes
  __m512i flip;           // top bits of bytes
  bool wide, add, first;
};

EDGEKIT_VNNI Finish finish_of(const bounds& limit, const residual& added, bool wide) {
  const bounds& last = added.x ? added.limit : limit;
  return {_mm512_set1_ps(added.ratio),
          _mm512_set1_ps(added.x_ratio),
          _mm512_set1_epi32(limit.lo),
          _mm512_set1_epi32(limit.hi),
          _mm512_set1_epi8(static_cast<char>(last.lo)),
          _mm512_set1_epi8(static_cast<char>(last.hi)),
          _mm512_set1_epi8(-128),
          wide,
          added.x != nullptr,
          added.first};
}

// rne(float32(sum) * multiplier), not yet within the bounds. NaN cannot be: both factors are finite.
EDGEKIT_VNNI __m512i scale(__m512i sum, __m512 multiplier) {
  return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), multiplier));
}

// The same where it is `wide`: what is above all bounds stays so. It is a sum again, whose multiplier is 1.
EDGEKIT_VNNI __m512i scale_wide(__m512i sum, __m512 multiplier) {
  return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), multiplier), _mm512_set1_ps(1024.0f)));
}

// y, a product that is not yet within the bounds, plus sixteen biased bytes at their scale, as fused_sum in arith.h;
// kFirst as in residual.
template <bool kFirst>
EDGEKIT_VNNI __m512i plus(__m512i y, __m128i x, const Finish& finish) {
  const __m512 own = _mm512_cvtepi32_ps(_mm512_min_epi32(_mm512_max_epi32(y, finish.lo), finish.hi));
  const __m512 other = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_xor_si128(x, _mm512_castsi512_si128(finish.flip))));
  const __m512 value = kFirst ? _mm512_fmadd_ps(other, finish.x_ratio, _mm512_mul_ps(own, finish.ratio))
                              : _mm512_fmadd_ps(own, finish.ratio, _mm512_mul_ps(other, finish.x_ratio));
  return _mm512_cvtps_epi32(value);
}

EDGEKIT_VNNI __m512i plus(__m512i y, __m128i x, const Finish& finish) {
  return finish.first ? plus<true>(y, x, finish) : plus<false>(y, x, finish);
}

// The value as it is here: its last step is neither put off nor joined to the next one. So steps keep the order in
// which they are written, one for many vectors before the next. A processor looks some sixty instructions ahead, which
// the chain of steps of one vector alone would leave empty.
template <class Vector>
EDGEKIT_VNNI void stay(Vector&& value) {
  __asm__ volatile("" : "+v"(value));
}

// Saturates four vectors of int32 to bytes within the bounds, and flips their top bits. Packing works on 128-bit lanes:
// lane i of the result holds four bytes of lane i of each, in this order.
EDGEKIT_VNNI __m512i pack(__m512i a, __m512i b, __m512i c, __m512i d, __m512i least, __m512i most, __m512i flip) {
  const __m512i bytes = _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
  return _mm512_xor_si512(_mm512_min_epi8(_mm512_max_epi8(bytes, least), most), flip);
}

EDGEKIT_VNNI __m512i pack(__m512i a, __m512i b, __m512i c, __m512i d, const Finish& finish) {
  return pack(a, b, c, d, finish.least, finish.most, finish.flip);
}

// What pack() gives with the sixteen bytes of each vector side by side.
EDGEKIT_VNNI __m512i in_order(__m512i packed) {
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), packed);
}

// The first `count` of up to 64 bytes.
EDGEKIT_VNNI __mmask64 first(std::int64_t count) {
  return count >= 64 ? ~__mmask64{0} : (__mmask64{1} << count) - 1;
}

// Up to 64 values of a row, or one value again and again where the step is 0.
EDGEKIT_VNNI __m512i operand(const std::int8_t* x, std::int64_t step, std::int64_t at, __mmask64 taken, __m512i flip) {
  const __m512i bytes = step ? _mm512_maskz_loadu_epi8(taken, x + at) : _mm512_set1_epi8(*x);
  return _mm512_xor_si512(bytes, flip);
}

// Sixteen of 64 bytes as int32.
template <int kQuarter>
EDGEKIT_VNNI __m512i widened(__m512i bytes) {
  return _mm512_cvtepi8_epi32(_mm512_extracti32x4_epi32(bytes, kQuarter));
}

// 64 bytes as int32.
struct Quarters {
  __m512i value[4];
};

EDGEKIT_VNNI Quarters widened_all(__m512i bytes) {
  return {{widened<0>(bytes), widened<1>(bytes), widened<2>(bytes), widened<3>(bytes)}};
}

}  // namespace edgekit::vnni

#endif
