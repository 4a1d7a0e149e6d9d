// Pieces of the AVX2 tier: the way from sums of int32 to bytes.
#pragma once

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "ops.h"

// Every function here is inlined into kernels of this target, so that none exists on its own for the linker to share.
#define EDGEKIT_AVX2_TARGET __attribute__((target("avx2,fma")))
#define EDGEKIT_AVX2 EDGEKIT_AVX2_TARGET __attribute__((always_inline)) inline

namespace edgekit::avx2 {

EDGEKIT_AVX2 __m256i load(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

// What a sum goes through on its way to a byte.
struct Finish {
  __m256 lo, hi, ratio, x_ratio, sum_lo, sum_hi;
  bool first;
};

EDGEKIT_AVX2 __m256 all(int value) {
  return _mm256_set1_ps(static_cast<float>(value));
}

EDGEKIT_AVX2 Finish finish_of(const bounds& limit, const residual& added) {
  return {all(limit.lo),
          all(limit.hi),
          _mm256_set1_ps(added.ratio),
          _mm256_set1_ps(added.x_ratio),
          all(added.limit.lo),
          all(added.limit.hi),
          added.first};
}

EDGEKIT_AVX2 __m256 clamp(__m256 value, __m256 lo, __m256 hi) {
  return _mm256_min_ps(_mm256_max_ps(value, lo), hi);
}

// rne(float32(sum) * multiplier) within the bounds; where `other` is given, the sum with its eight values at their
// scale.
EDGEKIT_AVX2 __m256i scale(__m256i sum, __m256 multiplier, const __m256i* other, const Finish& finish) {
  const __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), multiplier);
  const __m256i y = _mm256_cvtps_epi32(clamp(product, finish.lo, finish.hi));
  if (!other) return y;
  const __m256 own = _mm256_cvtepi32_ps(y), x = _mm256_cvtepi32_ps(*other);
  const __m256 both = finish.first ? _mm256_fmadd_ps(x, finish.x_ratio, _mm256_mul_ps(own, finish.ratio))
                                   : _mm256_fmadd_ps(own, finish.ratio, _mm256_mul_ps(x, finish.x_ratio));
  return _mm256_cvtps_epi32(clamp(both, finish.sum_lo, finish.sum_hi));
}

// The first `count` of sixteen bytes, 1 to 16 of them, followed by 0. No more are read: two words overlap.
EDGEKIT_AVX2 __m128i bytes_at(const std::int8_t* x, int count) {
  if (count == 16) return _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
  if (count >= 8) {
    const __m128i first = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(x)),
                  last = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(x + count - 8));
    return _mm_unpacklo_epi64(first, _mm_srl_epi64(last, _mm_cvtsi32_si128(8 * (16 - count))));
  }
  std::uint64_t word;
  if (count >= 4) {
    std::uint32_t first, last;
    std::memcpy(&first, x, 4);
    std::memcpy(&last, x + count - 4, 4);
    word = first | std::uint64_t{last} << (8 * (count - 4));
  } else {
    const auto byte = [x](int i) { return std::uint64_t{static_cast<std::uint8_t>(x[i])} << 8 * i; };
    word = byte(0) | byte(count / 2) | byte(count - 1);
  }
  return _mm_cvtsi64_si128(static_cast<long long>(word));
}

// The same for writing.
EDGEKIT_AVX2 void store_bytes(std::uint8_t* out, __m128i bytes, int count) {
  if (count == 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes);
    return;
  }
  std::uint8_t copy[16];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(copy), bytes);
  if (count >= 8) {
    std::memcpy(out, copy, 8);
    std::memcpy(out + count - 8, copy + count - 8, 8);
  } else if (count >= 4) {
    std::memcpy(out, copy, 4);
    std::memcpy(out + count - 4, copy + count - 4, 4);
  } else {
    for (int i = 0; i < count; ++i) out[i] = copy[i];
  }
}

// Sixteen int16 within the bounds of a byte to the first `count` of sixteen bytes.
EDGEKIT_AVX2 void store(std::uint8_t* out, __m256i words, int count) {
  store_bytes(out, _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)), count);
}

}  // namespace edgekit::avx2

#endif
