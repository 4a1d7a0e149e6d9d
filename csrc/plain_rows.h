// Softmax and norms in plain loops over neighbours in memory; as in plain.h. Parts share the rows, or the sets.
#pragma once

#include <algorithm>
#include <cstdint>

#include "norm.h"
#include "ops_sequences.h"
#include "plain.h"

namespace edgekit::plain {

constexpr int kPiece = 1024;  // of a row of softmax: what is kept of it

// Values that lie in memory as q ^ flip.
struct Bytes {
  const std::int8_t* x;
  std::uint8_t flip;

  EDGEKIT_PLAIN std::int8_t operator[](std::int64_t i) const { return static_cast<std::int8_t>(x[i] ^ flip); }
};

struct SoftmaxRow {
  Bytes x;
  const std::uint8_t* mask;
  std::int64_t mask_stride;

  // From value `at` on: 0xff for what takes part, else 0.
  EDGEKIT_PLAIN void taken(std::int64_t at, int count, std::uint8_t (&to)[kPiece]) const {
    if (mask_stride == 1) {
      for (int i = 0; i < count; ++i) to[i] = mask[at + i] ? 0xff : 0;
    } else {
      for (int i = 0; i < count; ++i) to[i] = mask[(at + i) * mask_stride] ? 0xff : 0;
    }
  }
};

template <bool kMasked>
EDGEKIT_PLAIN std::int8_t largest(const SoftmaxRow& row, std::int64_t length) {
  std::int8_t top = -128;
  for (std::int64_t at = 0; at < length; at += kPiece) {
    const int count = static_cast<int>(std::min<std::int64_t>(length - at, kPiece));
    std::uint8_t taken[kPiece];
    if (kMasked) row.taken(at, count, taken);
    for (int i = 0; i < count; ++i) {
      const std::int8_t q = kMasked && !taken[i] ? std::int8_t{-128} : row.x[at + i];
      top = q > top ? q : top;
    }
  }
  return top;
}

// The entries of the table for up to kPiece values; 0 for what is masked, whose distance is any byte.
template <bool kMasked>
EDGEKIT_PLAIN void weigh(const SoftmaxRow& row, const std::int32_t* table, std::int8_t top, std::int64_t at, int count,
                         std::int32_t (&weight)[kPiece]) {
  std::uint8_t distance[kPiece];
  for (int i = 0; i < count; ++i) distance[i] = static_cast<std::uint8_t>(top - row.x[at + i]);
#pragma GCC unroll 8
  for (int i = 0; i < count; ++i) weight[i] = table[distance[i]];
  if (!kMasked) return;
  row.taken(at, count, distance);
  for (int i = 0; i < count; ++i) weight[i] = distance[i] ? weight[i] : 0;
}

// A weight of 0 gives 0 whatever the factor: 0 times infinity is NaN, which is 0.
template <bool kMasked>
EDGEKIT_PLAIN void softmax_row(const softmax_s8_args& args, const SoftmaxRow& row, std::int8_t* out) {
  const std::int8_t top = largest<kMasked>(row, args.length);
  std::int32_t weight[kPiece];
  std::int64_t total = 0;
  for (std::int64_t at = 0; at < args.length; at += kPiece) {
    const int count = static_cast<int>(std::min<std::int64_t>(args.length - at, kPiece));
    weigh<kMasked>(row, args.table, top, at, count, weight);
    for (int i = 0; i < count; ++i) total += weight[i];
  }
  const bounds limit = whole_byte();
  const float r = static_cast<float>(1.0 / (static_cast<double>(total) * args.output_scale));
  for (std::int64_t at = 0; at < args.length; at += kPiece) {
    const int count = static_cast<int>(std::min<std::int64_t>(args.length - at, kPiece));
    if (args.length > kPiece) weigh<kMasked>(row, args.table, top, at, count, weight);
    for (int i = 0; i < count; ++i)
      out[at + i] =
          static_cast<std::int8_t>(saturate(static_cast<float>(weight[i]) * r, limit.lo, limit.hi) ^ row.x.flip);
  }
}

EDGEKIT_PLAIN void softmax(const softmax_s8_args& all, const part& part) {
  const softmax_s8_args args = all;  // a copy, since a store of bytes might change what it points to
  const range rows = share_of(args.rows, part);
  for (std::int64_t at = rows.begin; at < rows.end; ++at) {
    const SoftmaxRow row = {
        {args.x + at * args.length, args.flip}, args.mask ? args.mask + args.mask_rows[at] : nullptr, args.mask_stride};
    std::int8_t* out = args.out + at * args.length;
    if (row.mask && row.mask_stride) {
      softmax_row<true>(args, row, out);
    } else if (row.mask && !*row.mask) {
      std::fill_n(out, args.length, static_cast<std::int8_t>(args.flip));
    } else {
      softmax_row<false>(args, row, out);
    }
  }
}

// sums_of in norm.h, by way of int32: the squares of 2^16 values are at most 2^30.
EDGEKIT_PLAIN set_sums sums(const Bytes& x, std::int64_t n) {
  constexpr std::int64_t kRun = 1 << 16;
  set_sums total = {0, 0};
  for (std::int64_t begin = 0; begin < n; begin += kRun) {
    const std::int64_t end = std::min(n, begin + kRun);
    std::int32_t sum = 0, squares = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int16_t q = x[i];
      sum += q;
      squares += q * q;
    }
    total.sum += sum;
    total.squares += squares;
  }
  return total;
}

// What the values of a set go through: float32(n*q - sum) * factor.
struct Normal {
  std::int64_t n, sum;
  float factor;
};

// finish(t, i), rounded, for the normalised value t of number i. The result may lie where the values do.
template <class Integer, class Finish>
EDGEKIT_PLAIN void normalise_in(const Normal& own, const Bytes& x, std::int8_t* out, std::int64_t length,
                                Finish finish) {
  const Integer n = static_cast<Integer>(own.n), sum = static_cast<Integer>(own.sum);
  const float factor = own.factor;
  const bounds limit = whole_byte();
  std::int8_t y[kBlock];
  for (std::int64_t at = 0; at < length; at += kBlock) {
    const int count = static_cast<int>(std::min<std::int64_t>(length - at, kBlock));
    for (int i = 0; i < count; ++i) {
      const float t = static_cast<float>(n * x[at + i] - sum) * factor;
      y[i] = static_cast<std::int8_t>(saturate(finish(t, at + i), limit.lo, limit.hi) ^ x.flip);
    }
    std::copy_n(y, count, out + at);
  }
}

// |n*q - sum| <= 2^8 * n: int32 holds it for sets of fewer than 2^23 values, and it rounds to the same float.
template <class Finish>
EDGEKIT_PLAIN void normalise(const Normal& own, const Bytes& x, std::int8_t* out, std::int64_t length, Finish finish) {
  if (own.n < (1 << 23)) {
    normalise_in<std::int32_t>(own, x, out, length, finish);
  } else {
    normalise_in<std::int64_t>(own, x, out, length, finish);
  }
}

EDGEKIT_PLAIN void layer_norm(const layer_norm_s8_args& args, const part& part) {
  const range rows = share_of(args.rows, part);
  const float *gain = args.gain, *offset = args.offset;
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    const Bytes x = {args.x + row * args.length, args.flip};
    const set_sums set = sums(x, args.length);
    const Normal own = {args.length, set.sum, deviation_factor(set, args.length, args.scale, args.eps)};
    normalise(own, x, args.out + row * args.length, args.length,
              [=](float t, std::int64_t i)
                  __attribute__((always_inline)) { return affine_sum(t, gain[i], offset[i]); });
  }
}

EDGEKIT_PLAIN void rms_norm(const rms_norm_s8_args& args, const part& part) {
  const range rows = share_of(args.rows, part);
  const float* gain = args.gain;
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    const Bytes x = {args.x + row * args.length, args.flip};
    const set_sums set = {0, sums(x, args.length).squares};
    const Normal own = {args.length, 0, deviation_factor(set, args.length, args.scale, args.eps)};
    normalise(own, x, args.out + row * args.length, args.length,
              [=](float t, std::int64_t i) __attribute__((always_inline)) { return t * gain[i]; });
  }
}

EDGEKIT_PLAIN void l2_norm(const l2_norm_s8_args& args, const part& part) {
  const range rows = share_of(args.rows, part);
  const float gain = args.gain;
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    const Bytes x = {args.x + row * args.length, args.flip};
    const double squares = static_cast<double>(sums(x, args.length).squares);
    const double length = std::sqrt(args.scale * args.scale * squares);
    const Normal own = {1, 0, static_cast<float>(args.scale / (length < args.eps ? args.eps : length))};
    normalise(own, x, args.out + row * args.length, args.length,
              [=](float t, std::int64_t) __attribute__((always_inline)) { return t * gain; });
  }
}

EDGEKIT_PLAIN void group_norm(const group_norm_s8_args& args, const part& part) {
  const range sets = share_of(args.images * args.groups, part);
  const std::int64_t n = args.channels * args.inner;
  for (std::int64_t at = sets.begin; at < sets.end; ++at) {
    const Bytes x = {args.x + at * n, args.flip};
    const set_sums set = sums(x, n);
    const Normal own = {n, set.sum, deviation_factor(set, n, args.scale, args.eps)};
    const float *gain = args.gain + at % args.groups * args.channels,
                *offset = args.offset + at % args.groups * args.channels;
    std::int8_t* out = args.out + at * n;
    if (args.inner == 1) {
      normalise(own, x, out, n, [=](float t, std::int64_t i) __attribute__((always_inline)) {
        return affine_sum(t, gain[i], offset[i]);
      });
      continue;
    }
    for (std::int64_t channel = 0; channel < args.channels; ++channel) {
      const float scale = gain[channel], shift = offset[channel];
      normalise(own, {x.x + channel * args.inner, x.flip}, out + channel * args.inner, args.inner,
                [=](float t, std::int64_t) __attribute__((always_inline)) { return affine_sum(t, scale, shift); });
    }
  }
}

}  // namespace edgekit::plain
