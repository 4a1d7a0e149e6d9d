// Pointwise words and pools in plain loops over neighbours in memory, for tiers whose compiler makes vectors of them.
// Each is inlined into a function of the tier's target, so the same lines become AVX2 in one file and NEON in another.
#pragma once

#include <algorithm>
#include <cstdint>

#include "arith.h"
#include "ops.h"
#include "part.h"
#include "requant.h"
#include "window.h"

#define EDGEKIT_PLAIN __attribute__((always_inline)) inline

namespace edgekit::plain {

constexpr int kBlock = 64;  // neighbours that a loop takes at a time

// Bounds that the compiler does not know to be constants. Where it does, it follows each clamped value on a branch of
// its own, and a loop with branches does not become vectors.
EDGEKIT_PLAIN bounds opaque(bounds limit) {
  __asm__("" : "+r"(limit.lo), "+r"(limit.hi));
  return limit;
}

EDGEKIT_PLAIN bounds whole_byte() {
  return opaque({-128, 127});
}

// One row of add_s8. A step is 0 or 1; each case is a loop of its own, because a compiler wants to know.
EDGEKIT_PLAIN void add_row(const add_s8_args& args, const std::int8_t* __restrict a, const std::int8_t* __restrict b,
                           std::int8_t* out, std::int64_t length, std::int64_t step_a, std::int64_t step_b) {
  const float ratio_a = args.ratio_a, ratio_b = args.ratio_b;
  const bounds limit = args.limit;
  std::int8_t y[kBlock];  // out may be one of the operands
  for (std::int64_t at = 0; at < length; at += kBlock) {
    const int count = static_cast<int>(std::min<std::int64_t>(length - at, kBlock));
    if (step_a == 1 && step_b == 1) {
      for (int i = 0; i < count; ++i)
        y[i] = saturate(fused_sum(a[at + i], ratio_a, b[at + i], ratio_b), limit.lo, limit.hi);
    } else {
      for (int i = 0; i < count; ++i)
        y[i] = saturate(fused_sum(a[(at + i) * step_a], ratio_a, b[(at + i) * step_b], ratio_b), limit.lo, limit.hi);
    }
    std::copy_n(y, count, out + at);
  }
}

EDGEKIT_PLAIN void mul_row(const mul_s8_args& args, const std::int8_t* __restrict a, const std::int8_t* __restrict b,
                           std::int8_t* out, std::int64_t length, std::int64_t step_a, std::int64_t step_b) {
  const float multiplier = args.multiplier;
  const bounds limit = args.limit;
  std::int8_t y[kBlock];
  for (std::int64_t at = 0; at < length; at += kBlock) {
    const int count = static_cast<int>(std::min<std::int64_t>(length - at, kBlock));
    if (step_a == 1 && step_b == 1) {
      for (int i = 0; i < count; ++i) y[i] = requantize(a[at + i] * b[at + i], multiplier, limit.lo, limit.hi);
    } else {
      for (int i = 0; i < count; ++i)
        y[i] = requantize(a[(at + i) * step_a] * b[(at + i) * step_b], multiplier, limit.lo, limit.hi);
    }
    std::copy_n(y, count, out + at);
  }
}

// Calls pixel(x, out, rows, columns, i, j) for each window of this part, x at its first tap and out at its result.
template <class Args, class Pixel>
EDGEKIT_PLAIN void each_window(const Args& args, extent dilation, const part& part, Pixel pixel) {
  const range share = share_of(args.images * args.out_size.height, part);
  for (std::int64_t at = share.begin; at < share.end; ++at) {
    const std::int64_t image = at / args.out_size.height, i = at % args.out_size.height;
    const std::int64_t top = i * args.stride.height - args.padding.height;
    const taps rows(top, args.kernel.height, dilation.height, args.in_size.height);
    for (std::int64_t j = 0; j < args.out_size.width; ++j) {
      const std::int64_t left = j * args.stride.width - args.padding.width;
      const taps columns(left, args.kernel.width, dilation.width, args.in_size.width);
      pixel(args.x + image * args.x_step.image + top * args.x_step.row + left * args.x_step.column,
            args.out + image * args.out_step.image + i * args.out_step.row + j * args.out_step.column, rows, columns,
            top, left);
    }
  }
}

// The larger of each of `kBlock` pairs, or of the first `count`. A loop of known length becomes vectors.
EDGEKIT_PLAIN void keep_larger(std::int8_t (&largest)[kBlock], const std::int8_t* x, int count) {
  if (count == kBlock) {
    for (int c = 0; c < kBlock; ++c) largest[c] = largest[c] > x[c] ? largest[c] : x[c];
  } else {
    for (int c = 0; c < count; ++c) largest[c] = largest[c] > x[c] ? largest[c] : x[c];
  }
}

EDGEKIT_PLAIN void max_pool(const max_pool_s8_args& args, const part& part) {
  const std::int64_t row_step = args.dilation.height * args.x_step.row,
                     column_step = args.dilation.width * args.x_step.column, channels = args.channels;
  each_window(args, args.dilation, part,
              [=](const std::int8_t* x, std::int8_t* out, const taps& rows, const taps& columns, std::int64_t,
                  std::int64_t) __attribute__((always_inline)) {
                for (std::int64_t first = 0; first < channels; first += kBlock) {
                  const int count = static_cast<int>(std::min<std::int64_t>(channels - first, kBlock));
                  std::int8_t largest[kBlock];
                  std::fill_n(largest, kBlock, std::int8_t{-128});
                  for (std::int64_t row = rows.begin; row < rows.end; ++row)
                    for (std::int64_t column = columns.begin; column < columns.end; ++column)
                      keep_larger(largest, x + row * row_step + column * column_step + first, count);
                  std::copy_n(largest, count, out + first);
                }
              });
}

EDGEKIT_PLAIN void avg_pool(const avg_pool_s8_args& args, const part& part) {
  each_window(args, {1, 1}, part,
              [&args](const std::int8_t* x, std::int8_t* out, const taps& rows, const taps& columns, std::int64_t top,
                      std::int64_t left) __attribute__((always_inline)) {
                const std::int64_t high = counted(top, args.kernel.height, args.padding.height, args.in_size.height,
                                                  args.count_include_pad),
                                   wide = counted(left, args.kernel.width, args.padding.width, args.in_size.width,
                                                  args.count_include_pad);
                const float multiplier = args.multiplier[high * wide];
                const bounds limit = args.limit;
                for (std::int64_t first = 0; first < args.channels; first += kBlock) {
                  const int count = static_cast<int>(std::min<std::int64_t>(args.channels - first, kBlock));
                  std::int32_t sum[kBlock] = {};
                  for (std::int64_t row = rows.begin; row < rows.end; ++row)
                    for (std::int64_t column = columns.begin; column < columns.end; ++column) {
                      const std::int8_t* from = x + row * args.x_step.row + column * args.x_step.column + first;
                      for (int c = 0; c < count; ++c) sum[c] += from[c];
                    }
                  for (int c = 0; c < count; ++c) out[first + c] = requantize(sum[c], multiplier, limit.lo, limit.hi);
                }
              });
}

// Whether what is kept lies side by side at the end.
inline const char* sum_refuses(const sum_s8_args& args) {
  const int last = args.kept.dims - 1;
  return last >= 0 && args.kept.step[last] == 1 ? nullptr : "what is kept does not lie side by side";
}

EDGEKIT_PLAIN void sum(const sum_s8_args& args, const part& part) {
  axes outer = args.kept;
  const std::int64_t length = outer.size[--outer.dims];
  const range share = share_of((length + kBlock - 1) / kBlock, part);
  std::int8_t* out = args.out;
  const bounds limit = args.limit;
  for_each_offset(outer, [&](std::int64_t offset) __attribute__((always_inline)) {
    for (std::int64_t first = share.begin * kBlock; first < std::min(share.end * kBlock, length); first += kBlock) {
      const int count = static_cast<int>(std::min<std::int64_t>(length - first, kBlock));
      std::int32_t sums[kBlock] = {};
      for_each_offset(args.reduced, [&](std::int64_t inner) __attribute__((always_inline)) {
        const std::int8_t* from = args.x + offset + first + inner;
        for (int c = 0; c < count; ++c) sums[c] += from[c];
      });
      for (int c = 0; c < count; ++c) out[first + c] = requantize(sums[c], args.multiplier, limit.lo, limit.hi);
    }
    out += length;
  });
}

}  // namespace edgekit::plain
