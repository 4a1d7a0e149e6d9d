// Norms of rows for AVX-512: the sums of a row are dot products of int16, and what its values go through is exact in
// float32 up to the first rounding that the reference has: n*q - sum stays below 2^24 for rows of up to 2^15 values.
#pragma once

#if defined(__x86_64__)

#include <algorithm>

#include "norm.h"
#include "part.h"
#include "vnni.h"

namespace edgekit::vnni {

constexpr std::int64_t kLongestRow = 1 << 15;

// Values of a row, 64 at a time; 0 behind its end.
struct NormRow {
  const std::int8_t* x;
  std::int64_t length;
  std::uint8_t flip;

  EDGEKIT_VNNI __m512i values(std::int64_t at) const {
    const __mmask64 taken = first(length - at);
    return _mm512_xor_si512(_mm512_maskz_loadu_epi8(taken, x + at),
                            _mm512_maskz_set1_epi8(taken, static_cast<char>(flip)));
  }
};

// sums_of in norm.h. The squares of 2^15 values are at most 2^29.
EDGEKIT_VNNI set_sums sums_of(const NormRow& row) {
  __m512i sum = _mm512_setzero_si512(), squares = sum;
  for (std::int64_t at = 0; at < row.length; at += 64) {
    const __m512i bytes = row.values(at);
    const __m512i low = _mm512_cvtepi8_epi16(_mm512_castsi512_si256(bytes)),
                  high = _mm512_cvtepi8_epi16(_mm512_extracti64x4_epi64(bytes, 1));
    sum = _mm512_dpwssd_epi32(_mm512_dpwssd_epi32(sum, low, _mm512_set1_epi16(1)), high, _mm512_set1_epi16(1));
    squares = _mm512_dpwssd_epi32(_mm512_dpwssd_epi32(squares, low, low), high, high);
  }
  return {_mm512_reduce_add_epi32(sum), _mm512_reduce_add_epi32(squares)};
}

// rne(value) where it fits a byte, and beyond that byte where it does not; NaN is 0. `kTame`: neither NaN nor beyond
// int32.
template <bool kTame>
EDGEKIT_VNNI __m512i rounded(__m512 value) {
  if (kTame) return _mm512_cvtps_epi32(value);
  const __mmask16 number = _mm512_cmp_ps_mask(value, value, _CMP_ORD_Q);
  return _mm512_maskz_cvtps_epi32(number, _mm512_min_ps(value, _mm512_set1_ps(1024.0f)));
}

// What the values of a row go through: sat8(rne(normalised(q) * gain + offset)), without offset where that is null.
struct NormScale {
  __m512 n, sum, factor;
  const float *gain, *offset;
  __m512i flip;
};

// Up to 64 values from `at` on.
template <bool kWhole, bool kTame>
EDGEKIT_VNNI void normalise(const NormRow& row, const NormScale& scale, std::int64_t at, std::int8_t* out) {
  const __mmask64 taken = kWhole ? ~__mmask64{0} : first(row.length - at);
  const Quarters q = widened_all(row.values(at));
  __m512i y[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const auto own = static_cast<__mmask16>(taken >> (16 * i));
    const auto load = [&](const float* from) __attribute__((target("avx512f"), always_inline)) {
      from += at + i * kLanes;
      return kWhole ? _mm512_loadu_ps(from) : _mm512_maskz_loadu_ps(own, from);
    };
    const __m512 t = _mm512_mul_ps(_mm512_fmsub_ps(_mm512_cvtepi32_ps(q.value[i]), scale.n, scale.sum), scale.factor);
    const __m512 product = _mm512_mul_ps(t, load(scale.gain));
    y[i] = rounded<kTame>(scale.offset ? _mm512_add_ps(product, load(scale.offset)) : product);
  }
  const __m512i least = _mm512_set1_epi8(-128), most = _mm512_set1_epi8(127);
  _mm512_mask_storeu_epi8(out + at, taken, in_order(pack(y[0], y[1], y[2], y[3], least, most, scale.flip)));
}

template <bool kTame>
EDGEKIT_VNNI void normalise(const NormRow& row, const NormScale& scale, std::int8_t* out) {
  std::int64_t at = 0;
  for (; at + 64 <= row.length; at += 64) normalise<true, kTame>(row, scale, at, out);
  if (at < row.length) normalise<false, kTame>(row, scale, at, out);
}

// The largest magnitude, as integers compare it: NaN is the largest of all.
EDGEKIT_VNNI float largest(const float* x, std::int64_t length) {
  __m512i most = _mm512_setzero_si512();
  for (std::int64_t at = 0; at < length; at += kLanes) {
    const auto taken = static_cast<__mmask16>(first(length - at));
    most = _mm512_max_epi32(most, _mm512_castps_si512(_mm512_abs_ps(_mm512_maskz_loadu_ps(taken, x + at))));
  }
  return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(_mm512_reduce_max_epi32(most))));
}

// Normalises each row of a part; the sums of several rows first, since what is made of
// them is a long chain. `centred`: without the mean.
template <class Args>
EDGEKIT_VNNI void normalise_rows(const Args& all, const float* offset, bool centred, const part& part) {
  const Args args = all;  // a copy, since a store of bytes might change what it points to
  constexpr std::int64_t kTogether = 16;
  const range rows = share_of(args.rows, part);
  if (rows.begin == rows.end) return;
  const float steepest = 256.0f * static_cast<float>(args.length) * largest(args.gain, args.length),
              farthest = offset ? largest(offset, args.length) : 0.0f;
  for (std::int64_t begin = rows.begin; begin < rows.end; begin += kTogether) {
    const int count = static_cast<int>(std::min(kTogether, rows.end - begin));
    std::int64_t sum[kTogether];
    float own[kTogether];
    for (int i = 0; i < count; ++i) {
      set_sums set = sums_of(NormRow{args.x + (begin + i) * args.length, args.length, args.flip});
      if (!centred) set.sum = 0;
      sum[i] = set.sum;
      own[i] = deviation_factor(set, args.length, args.scale, args.eps);
    }
    for (int i = 0; i < count; ++i) {
      const NormScale scale = {_mm512_set1_ps(static_cast<float>(args.length)),
                               _mm512_set1_ps(static_cast<float>(sum[i])),
                               _mm512_set1_ps(own[i]),
                               args.gain,
                               offset,
                               _mm512_set1_epi8(static_cast<char>(args.flip))};
      const NormRow row = {args.x + (begin + i) * args.length, args.length, args.flip};
      std::int8_t* out = args.out + (begin + i) * args.length;
      if (own[i] * steepest + farthest < 1073741824.0f) {  // 2^30, which leaves room for what is rounded
        normalise<true>(row, scale, out);
      } else {
        normalise<false>(row, scale, out);
      }
    }
  }
}

}  // namespace edgekit::vnni

#endif
