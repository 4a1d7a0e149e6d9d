// Sixty-four channels lie side by side in memory, and a dot product wants four bytes of one channel side by side. So
// four columns of a row are interleaved: eight shuffles make four vectors, each of sixteen channels with four taps.
// Where neighbouring results need the same columns they share the interleaved ones, their weights shifted by a tap: a
// 3x3 kernel of stride 1 reads four columns for two results. Packing the results back undoes the order of the shuffles.
//
//   packed = header | for each 64 channels: bias [4][16], multiplier [4][16], weight [result][row][group][4][64]
//
// Exact: sums of at most 131,071 products fit int32, and sums that are biased on the way wrap back (vnni.h).
#include "depthwise_avx512vnni.h"

#if defined(__x86_64__)

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "product_pack.h"
#include "vnni.h"

// As in product_avx512vnni.cc: it would move every sum twice.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-pre")
#endif

namespace edgekit::vnni {

namespace {

constexpr int kChannels = 64, kTaps = 4, kMost = 4;
constexpr int kColumns = 32;  // of a kernel, at the most
constexpr std::int64_t kHeader = 64, kConstants = 2 * 4 * 64;

// Pixels side by side in one vector: more than one where their channels divide 64 and both images are dense along a
// row.
std::int64_t pixels_of(const conv2d_s8_args& args) {
  const std::int64_t channels = args.out_channels;
  const bool dense = args.x_step.column == channels && args.out_step.column == channels &&
                     (!args.added.x || args.added.step.column == channels);
  return dense && args.stride.width == 1 && kChannels % channels == 0 ? kChannels / channels : 1;
}

// How results share columns: `together` results read `groups` times four columns.
struct Sharing {
  int groups, together;
};

Sharing sharing_of(const conv2d_s8_args& args) {
  const auto width = static_cast<int>(args.kernel.width);
  const int groups = (width + kTaps - 1) / kTaps;
  if (args.dilation.width != 1 || args.stride.width > kTaps * groups || pixels_of(args) > 1) return {groups, 1};
  const int together = (kTaps * groups - width) / static_cast<int>(args.stride.width) + 1;
  return {groups, std::min(together, kMost)};
}

std::int64_t block_bytes(const conv2d_s8_args& args) {
  const Sharing sharing = sharing_of(args);
  return kConstants + sharing.together * args.kernel.height * sharing.groups * 4 * 64;
}

// The channel that a shuffled vector `q` holds in int32 lane `lane`.
constexpr int channel_at(int q, int lane) {
  return lane / 4 * 16 + q * 4 + lane % 4;
}

// A column of one row, and the four of a group interleaved: result q holds channels of channel_at(q, ...).
EDGEKIT_VNNI void interleave(const __m512i (&column)[kTaps], __m512i (&taps)[4]) {
  const __m512i low01 = _mm512_unpacklo_epi8(column[0], column[1]), low23 = _mm512_unpacklo_epi8(column[2], column[3]);
  const __m512i high01 = _mm512_unpackhi_epi8(column[0], column[1]),
                high23 = _mm512_unpackhi_epi8(column[2], column[3]);
  taps[0] = _mm512_unpacklo_epi16(low01, low23);
  taps[1] = _mm512_unpackhi_epi16(low01, low23);
  taps[2] = _mm512_unpacklo_epi16(high01, high23);
  taps[3] = _mm512_unpackhi_epi16(high01, high23);
}

struct Strip {
  const conv2d_s8_args& args;
  const std::uint8_t* block;      // packed filters of these channels
  int groups;                     // as packed
  __mmask64 channels;             // that exist
  std::int64_t column[kColumns];  // where each column of a window begins; one with weight 0 reads another that is there
};

EDGEKIT_VNNI __m512i load(const std::uint8_t* x, __mmask64 channels, bool whole) {
  return whole ? _mm512_loadu_si512(x) : _mm512_maskz_loadu_epi8(channels, x);
}

// kTogether neighbouring results of 64 channels; `x` is the first tap of the first one.
// kHeight rows of a kernel of one group of columns, or any kernel where it is 0.
template <int kTogether, bool kWhole, int kHeight>
EDGEKIT_VNNI void results(const Strip& strip, const std::uint8_t* x, std::uint8_t* out, const std::uint8_t* added,
                          const Finish& finish) {
  const conv2d_s8_args& args = strip.args;
  __m512i sum[kTogether][4];
#pragma GCC unroll 4
  for (int t = 0; t < kTogether; ++t)
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) sum[t][q] = _mm512_loadu_si512(strip.block + q * 64);
  const std::int64_t height = kHeight ? kHeight : args.kernel.height, groups = kHeight ? 1 : strip.groups;
  const std::int64_t result_bytes = height * groups * 256, row_step = args.dilation.height * args.x_step.row;
  const std::uint8_t* weight = strip.block + kConstants;
#pragma GCC unroll 3
  for (std::int64_t row = 0; row < height; ++row, x += row_step) {
#pragma GCC unroll 1
    for (std::int64_t group = 0; group < groups; ++group, weight += 256) {
      __m512i column[kTaps], taps[4];
#pragma GCC unroll 4
      for (int c = 0; c < kTaps; ++c) column[c] = load(x + strip.column[group * kTaps + c], strip.channels, kWhole);
      interleave(column, taps);
#pragma GCC unroll 4
      for (int t = 0; t < kTogether; ++t)
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q)
          sum[t][q] = _mm512_dpbusd_epi32(sum[t][q], taps[q], _mm512_loadu_si512(weight + t * result_bytes + q * 64));
    }
  }
  const auto* multiplier = reinterpret_cast<const float*>(strip.block + 256);
#pragma GCC unroll 4
  for (int t = 0; t < kTogether; ++t) {
    __m512i y[4];
    if (finish.add) {
      const std::uint8_t* other = added + t * args.added.step.column;
      alignas(64) std::uint8_t bytes[kChannels];
      _mm512_store_si512(bytes, load(other, strip.channels, kWhole));
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        const __m512i lanes = _mm512_load_si512(bytes);  // bytes of channel_at(q, ...): dword q of each 128-bit lane
        const __m512i own = _mm512_permutexvar_epi32(
            _mm512_setr_epi32(q, 4 + q, 8 + q, 12 + q, q, q, q, q, q, q, q, q, q, q, q, q), lanes);
        y[q] = scale_and_add(sum[t][q], _mm512_loadu_ps(multiplier + q * kLanes), _mm512_castsi512_si128(own), finish);
      }
    } else {
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) y[q] = scale(sum[t][q], _mm512_loadu_ps(multiplier + q * kLanes), finish.wide);
    }
    const __m512i bytes = pack(y[0], y[1], y[2], y[3], finish);
    std::uint8_t* to = out + t * args.out_step.column;
    if (kWhole) {
      _mm512_storeu_si512(to, bytes);
    } else {
      _mm512_mask_storeu_epi8(to, strip.channels, bytes);
    }
  }
}

// `width` results of a row; those that do not make up the number that shares columns come `alone`.
template <int kTogether, bool kWhole, int kHeight>
EDGEKIT_VNNI_TARGET void row_of(const Strip& strip, const Strip& alone, std::int64_t width, const std::uint8_t* x,
                                std::uint8_t* out, const std::uint8_t* added, const Finish& finish) {
  const conv2d_s8_args& args = strip.args;
  const std::int64_t step = args.stride.width * args.x_step.column;
  std::int64_t j = 0;
  for (; j + kTogether <= width; j += kTogether)
    results<kTogether, kWhole, kHeight>(strip, x + j * step, out + j * args.out_step.column,
                                        added + j * args.added.step.column, finish);
  for (; j < width; ++j)
    results<1, kWhole, kHeight>(alone, x + j * step, out + j * args.out_step.column, added + j * args.added.step.column,
                                finish);
}

using Row = void (*)(const Strip&, const Strip&, std::int64_t, const std::uint8_t*, std::uint8_t*, const std::uint8_t*,
                     const Finish&);

template <bool kWhole, int kHeight>
Row row_for(int together) {
  constexpr Row rows[kMost] = {row_of<1, kWhole, kHeight>, row_of<2, kWhole, kHeight>, row_of<3, kWhole, kHeight>,
                               row_of<4, kWhole, kHeight>};
  return rows[together - 1];
}

void set_columns(Strip& strip, const conv2d_s8_args& args, int together) {
  const std::int64_t last = args.kernel.width + (together - 1) * args.stride.width - 1;
  for (int c = 0; c < strip.groups * kTaps; ++c)
    strip.column[c] = std::min<std::int64_t>(c, last) * args.dilation.width * args.x_step.column;
}

}  // namespace

const char* depthwise_refuses(const conv2d_s8_args& args) {
  return args.kernel.width > kColumns ? "a depthwise kernel of more than 32 columns" : nullptr;
}

std::size_t depthwise_packed_bytes(const conv2d_s8_args& args) {
  return static_cast<std::size_t>(kHeader + (args.out_channels + kChannels - 1) / kChannels * block_bytes(args));
}

void pack_depthwise(const conv2d_s8_args& args, void* to) {
  std::memset(to, 0, depthwise_packed_bytes(args));
  const Sharing sharing = sharing_of(args);
  const steps& step = args.weight_step;
  const std::int64_t pixels = pixels_of(args);
  const auto height = static_cast<int>(args.kernel.height), width = static_cast<int>(args.kernel.width);
  PackedHeader header = {0};
  for (std::int64_t first = 0; first < args.out_channels; first += kChannels) {
    auto* block = static_cast<std::uint8_t*>(to) + kHeader + first / kChannels * block_bytes(args);
    auto* weights = reinterpret_cast<std::int8_t*>(block) + kConstants;
    for (int at = 0; at < kChannels; ++at) {
      const int q = at / 16, lane = at % 16;
      const std::int64_t o = pixels > 1 ? channel_at(q, lane) % args.out_channels : first + channel_at(q, lane);
      if (o >= args.out_channels) continue;
      std::int64_t sum = 0, magnitude = 0;
      for (int row = 0; row < height; ++row) {
        for (int column = 0; column < width; ++column) {
          const std::int8_t w = args.weight[o * step.image + row * step.row + column * step.column];
          sum += w;
          magnitude += std::abs(static_cast<int>(w));
          for (int t = 0; t < sharing.together; ++t) {
            const int shifted = column + t * static_cast<int>(args.stride.width);
            const std::int64_t vector = ((t * height + row) * sharing.groups + shifted / kTaps) * 4 + q;
            weights[vector * 64 + lane * 4 + shifted % kTaps] = w;
          }
        }
      }
      const std::int32_t bias = args.bias[o];
      const auto folded = static_cast<std::uint32_t>(bias) - static_cast<std::uint32_t>(128 * sum);
      std::memcpy(block + at * 4, &folded, 4);
      std::memcpy(block + 256 + at * 4, args.multiplier + o, 4);
      const double largest = 128.0 * static_cast<double>(magnitude) + std::abs(static_cast<double>(bias));
      if (is_wide(largest, args.multiplier[o])) header.wide = 1;
    }
  }
  std::memcpy(to, &header, sizeof header);
}

EDGEKIT_VNNI_TARGET void depthwise(const conv2d_s8_args& args, const part& part) {
  const auto* packed = static_cast<const std::uint8_t*>(args.packed);
  const Finish finish = finish_of(args.limit, args.added, is_wide(packed));
  const Sharing sharing = sharing_of(args);
  const bool three = args.kernel.height == 3 && sharing.groups == 1;
  const Row rows[2] = {(three ? row_for<false, 3> : row_for<false, 0>)(sharing.together),
                       (three ? row_for<true, 3> : row_for<true, 0>)(sharing.together)};
  Strip strip = {args, nullptr, sharing.groups, 0, {}}, alone = strip;
  set_columns(strip, args, sharing.together);
  set_columns(alone, args, 1);
  const std::int64_t pixels = pixels_of(args), bytes = args.out_channels * (pixels > 1 ? args.out_size.width : 1);
  const std::int64_t width = pixels > 1 ? 1 : args.out_size.width;
  const range share = share_of(args.images * args.out_size.height, part);
  for (std::int64_t at = share.begin; at < share.end; ++at) {
    const std::int64_t image = at / args.out_size.height, row = at % args.out_size.height;
    const auto* x = reinterpret_cast<const std::uint8_t*>(args.x) + image * args.x_step.image +
                    (row * args.stride.height - args.padding.height) * args.x_step.row -
                    args.padding.width * args.x_step.column;
    auto* out = reinterpret_cast<std::uint8_t*>(args.out) + image * args.out_step.image + row * args.out_step.row;
    const auto* added = reinterpret_cast<const std::uint8_t*>(args.added.x);
    if (added) added += image * args.added.step.image + row * args.added.step.row;
    for (std::int64_t begin = 0; begin < bytes; begin += kChannels) {
      const bool whole = begin + kChannels <= bytes;
      strip.block = alone.block = packed + kHeader + (pixels > 1 ? 0 : begin / kChannels) * block_bytes(args);
      strip.channels = alone.channels = first(bytes - begin);
      rows[whole](strip, alone, width, x + begin, out + begin, added ? added + begin : nullptr, finish);
    }
  }
}

}  // namespace edgekit::vnni

#endif
