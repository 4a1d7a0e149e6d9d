// A few results of a depthwise convolution at a time, in the vectors of depthwise_vnni_vectors.h.
//
// The channels of a block lie side by side in memory, and a dot product wants four bytes of one channel side by side.
// So four columns of a row are interleaved: eight shuffles make four vectors, each of a quarter of the channels with
// four taps. Where neighbouring results need the same columns they share the interleaved ones, their weights shifted by
// a tap: a 3x3 kernel of stride 1 reads four columns for two results. Packing the results back undoes the order of the
// shuffles.
//
// Exact: sums of at most 131,071 products fit int32, and sums that are biased on the way wrap back (vnni.h).
#pragma once

#if defined(__x86_64__)

#include <cstdint>

#include "depthwise_vnni_layout.h"
#include "depthwise_vnni_vectors.h"
#include "vnni.h"

namespace edgekit::vnni {

// A column of one row, and the four of a group interleaved: result q holds channels of channel_at(q, ...).
template <class V>
EDGEKIT_VNNI void interleave(const typename V::Ints (&column)[kTaps], typename V::Ints (&taps)[4]) {
  const auto low01 = V::low8(column[0], column[1]), low23 = V::low8(column[2], column[3]);
  const auto high01 = V::high8(column[0], column[1]), high23 = V::high8(column[2], column[3]);
  taps[0] = V::low16(low01, low23);
  taps[1] = V::high16(low01, low23);
  taps[2] = V::low16(high01, high23);
  taps[3] = V::high16(high01, high23);
}

// The four columns of a group, interleaved. Of those that have no weights only the first kRead are read.
template <class V, int kTogether, int kRead = kTaps>
EDGEKIT_VNNI void taps_at(const Strip& strip, const std::uint8_t* x, std::int64_t group, typename V::Ints (&taps)[4]) {
  typename V::Ints column[kTaps];
#pragma GCC unroll 4
  for (int c = 0; c < kTaps; ++c)
    column[c] = c < kRead ? column_of<V>(x + strip.column[group * kTaps + c], strip, kTogether * strip.x_step)
                          : column[kRead - 1];
  interleave<V>(column, taps);
}

// Where a result goes, and what is added to it.
struct Place {
  std::uint8_t* out;
  const std::uint8_t* added;
};

// That of the result `j` further in the row.
inline Place at_step(const Place& at, const Strip& strip, std::int64_t j) {
  return {at.out + j * strip.out_step, at.added + j * strip.added_step};
}

// Rounded sums of a result plus what is added.
template <class V, int kTogether>
EDGEKIT_VNNI void add(const Strip& strip, typename V::Ints (&sum)[4], const typename V::Floats (&factor)[4],
                      const std::uint8_t* added, const Finish& finish) {
  const __m512i lanes = V::widened(V::load(added, strip, kTogether * strip.added_step));
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {  // bytes of channel_at(q, ...): dword q of each 128-bit lane
    const __m128i own = _mm512_castsi512_si128(_mm512_permutexvar_epi32(
        _mm512_setr_epi32(q, 4 + q, 8 + q, 12 + q, q, q, q, q, q, q, q, q, q, q, q, q), lanes));
    const __m512i value = V::widened(sum[q]);
    const __m512 by = V::widened(factor[q]);
    sum[q] = V::narrowed(plus(scale(value, by), own, finish));
  }
}

// Sums of kCount results to bytes, one step for all before the next (vnni.h, stay).
template <class V, int kTogether, int kCount>
EDGEKIT_VNNI void finish_results(const Strip& strip, typename V::Ints (&sum)[kCount][4], const Place (&place)[kCount],
                                 const Finish& finish) {
  typename V::Floats factor[4];
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) factor[q] = V::floats(strip.block + 256 + q * 64);
  if (finish.wide) {
    const float one[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
#pragma GCC unroll 4
      for (int i = 0; i < kCount; ++i)
        sum[i][q] = V::narrowed(scale_wide(V::widened(sum[i][q]), V::widened(factor[q])));
      factor[q] = V::floats(one);
    }
  }
  if (finish.add) {
#pragma GCC unroll 4
    for (int i = 0; i < kCount; ++i) add<V, kTogether>(strip, sum[i], factor, place[i].added, finish);
  } else {
    typename V::Floats value[kCount][4];
#pragma GCC unroll 4
    for (int i = 0; i < kCount; ++i)
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) stay(value[i][q] = V::to_floats(sum[i][q]));
#pragma GCC unroll 4
    for (int i = 0; i < kCount; ++i)
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) stay(value[i][q] = V::times(value[i][q], factor[q]));
#pragma GCC unroll 4
    for (int i = 0; i < kCount; ++i)
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) stay(sum[i][q] = V::to_ints(value[i][q]));
  }
#pragma GCC unroll 4
  for (int i = 0; i < kCount; ++i) V::store(place[i].out, strip, kTogether * strip.out_step, V::packed(sum[i], finish));
}

template <class V, int kCount>
EDGEKIT_VNNI void begin(const Strip& strip, typename V::Ints (&sum)[kCount][4]) {
#pragma GCC unroll 4
  for (int i = 0; i < kCount; ++i)
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) sum[i][q] = V::ints(strip.block + q * 64);
}

// kTogether neighbouring results of a block; `x` is the first tap of the first one.
template <class V, int kTogether>
EDGEKIT_VNNI void results(const Strip& strip, const std::uint8_t* x, Place at, const Finish& finish) {
  typename V::Ints sum[kTogether][4];
  begin<V>(strip, sum);
  const std::int64_t height = strip.args.kernel.height, result_bytes = height * strip.groups * 256;
  const std::uint8_t* weight = strip.block + kConstants;
  for (std::int64_t row = 0; row < height; ++row, x += strip.row_step) {
    for (std::int64_t group = 0; group < strip.groups; ++group, weight += 256) {
      typename V::Ints taps[4];
      taps_at<V, kTogether>(strip, x, group, taps);
#pragma GCC unroll 4
      for (int t = 0; t < kTogether; ++t)
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) sum[t][q] = V::dot(sum[t][q], taps[q], V::ints(weight + t * result_bytes + q * 64));
    }
  }
  Place place[kTogether];
#pragma GCC unroll 4
  for (int t = 0; t < kTogether; ++t) place[t] = at_step(at, strip, t);
  finish_results<V, kTogether>(strip, sum, place, finish);
}

// kCount results of a kernel of three rows and three columns at the most.
template <class V, int kCount>
EDGEKIT_VNNI void results_of_three(const Strip& strip, const typename V::Ints (&weight)[3][4], const std::uint8_t* x,
                                   Place at, const Finish& finish) {
  typename V::Ints sum[kCount][4];
  begin<V>(strip, sum);
#pragma GCC unroll 3
  for (int row = 0; row < 3; ++row) {
#pragma GCC unroll 2
    for (int i = 0; i < kCount; ++i) {
      typename V::Ints taps[4];
      taps_at<V, 1, 3>(strip, x + i * V::kPixels * strip.x_step + row * strip.row_step, 0, taps);
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) sum[i][q] = V::dot(sum[i][q], taps[q], weight[row][q]);
    }
  }
  Place place[kCount];
#pragma GCC unroll 2
  for (int i = 0; i < kCount; ++i) place[i] = at_step(at, strip, i * V::kPixels);
  finish_results<V, 1>(strip, sum, place, finish);
}

// kTogether results of such a kernel, and those of the row below, which is the next one in x, too: they share what is
// interleaved, and each vector of weights that is loaded.
template <class V, int kTogether>
EDGEKIT_VNNI void results_of_two_rows(const Strip& strip, const std::uint8_t* x, Place at, const Finish& finish) {
  constexpr int kRead = kTogether == 1 ? 3 : kTaps;
  typename V::Ints sum[2 * kTogether][4], upper[4], lower[4];
  begin<V>(strip, sum);
  const std::uint8_t* weight = strip.block + kConstants;
  taps_at<V, kTogether, kRead>(strip, x, 0, upper);
#pragma GCC unroll 3
  for (int row = 0; row < 3; ++row) {
    taps_at<V, kTogether, kRead>(strip, x + (row + 1) * strip.row_step, 0, lower);
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
#pragma GCC unroll 2
      for (int t = 0; t < kTogether; ++t) {
        const auto w = V::ints(weight + (t * 3 + row) * 256 + q * 64);
        sum[t][q] = V::dot(sum[t][q], upper[q], w);
        sum[kTogether + t][q] = V::dot(sum[kTogether + t][q], lower[q], w);
      }
      upper[q] = lower[q];
    }
  }
  const Place below = {at.out + strip.args.out_step.row, at.added + strip.args.added.step.row};
  Place place[2 * kTogether];
#pragma GCC unroll 2
  for (int t = 0; t < kTogether; ++t) {
    place[t] = at_step(at, strip, t);
    place[kTogether + t] = at_step(below, strip, t);
  }
  finish_results<V, kTogether>(strip, sum, place, finish);
}

}  // namespace edgekit::vnni

#endif
