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
  std::int64_t row_step;          // from one row of a window to the next
  std::int64_t x_step, out_step, added_step;  // from one result of a row to the next
};

EDGEKIT_VNNI __m512i load(const std::uint8_t* x, __mmask64 channels, bool whole) {
  return whole ? _mm512_loadu_si512(x) : _mm512_maskz_loadu_epi8(channels, x);
}

// The four columns of a group, interleaved.
template <bool kWhole>
EDGEKIT_VNNI void taps_at(const Strip& strip, const std::uint8_t* x, std::int64_t group, __m512i (&taps)[4]) {
  __m512i column[kTaps];
#pragma GCC unroll 4
  for (int c = 0; c < kTaps; ++c) column[c] = load(x + strip.column[group * kTaps + c], strip.channels, kWhole);
  interleave(column, taps);
}

// Where a result goes, and what is added to it.
struct Place {
  std::uint8_t* out;
  const std::uint8_t* added;
};

// That of the result `j` further in the row.
EDGEKIT_VNNI Place at_step(const Place& at, const Strip& strip, std::int64_t j) {
  return {at.out + j * strip.out_step, at.added + j * strip.added_step};
}

// Rounded sums of a result plus what is added.
template <bool kWhole>
EDGEKIT_VNNI void add(const Strip& strip, __m512i (&sum)[4], const __m512 (&factor)[4], const std::uint8_t* added,
                      const Finish& finish) {
  const __m512i lanes = load(added, strip.channels, kWhole);
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {  // bytes of channel_at(q, ...): dword q of each 128-bit lane
    const __m128i own = _mm512_castsi512_si128(_mm512_permutexvar_epi32(
        _mm512_setr_epi32(q, 4 + q, 8 + q, 12 + q, q, q, q, q, q, q, q, q, q, q, q, q), lanes));
    sum[q] = finish.first ? scale_and_add<true>(sum[q], factor[q], own, finish)
                          : scale_and_add<false>(sum[q], factor[q], own, finish);
  }
}

// Sums of kCount results to bytes, one step for all before the next (vnni.h, stay).
template <int kCount, bool kWhole>
EDGEKIT_VNNI void finish_results(const Strip& strip, __m512i (&sum)[kCount][4], const Place (&place)[kCount],
                                 const Finish& finish) {
  const auto* multiplier = reinterpret_cast<const float*>(strip.block + 256);
  __m512 factor[4];
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) factor[q] = _mm512_loadu_ps(multiplier + q * kLanes);
  if (finish.wide) {
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
#pragma GCC unroll 4
      for (int i = 0; i < kCount; ++i) sum[i][q] = scale_wide(sum[i][q], factor[q]);
      factor[q] = _mm512_set1_ps(1.0f);
    }
  }
  if (finish.add) {
#pragma GCC unroll 4
    for (int i = 0; i < kCount; ++i) add<kWhole>(strip, sum[i], factor, place[i].added, finish);
  } else {
    __m512 value[kCount][4];
#pragma GCC unroll 4
    for (int i = 0; i < kCount; ++i)
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) stay(value[i][q] = _mm512_cvtepi32_ps(sum[i][q]));
#pragma GCC unroll 4
    for (int i = 0; i < kCount; ++i)
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) stay(value[i][q] = _mm512_mul_ps(value[i][q], factor[q]));
#pragma GCC unroll 4
    for (int i = 0; i < kCount; ++i)
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) stay(sum[i][q] = _mm512_cvtps_epi32(value[i][q]));
  }
#pragma GCC unroll 4
  for (int i = 0; i < kCount; ++i) {
    const __m512i bytes = pack(sum[i][0], sum[i][1], sum[i][2], sum[i][3], finish);
    if (kWhole) {
      _mm512_storeu_si512(place[i].out, bytes);
    } else {
      _mm512_mask_storeu_epi8(place[i].out, strip.channels, bytes);
    }
  }
}

template <int kCount>
EDGEKIT_VNNI void begin(const Strip& strip, __m512i (&sum)[kCount][4]) {
#pragma GCC unroll 4
  for (int i = 0; i < kCount; ++i)
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) sum[i][q] = _mm512_loadu_si512(strip.block + q * 64);
}

// kTogether neighbouring results of 64 channels; `x` is the first tap of the first one.
template <int kTogether, bool kWhole>
EDGEKIT_VNNI void results(const Strip& strip, const std::uint8_t* x, Place at, const Finish& finish) {
  __m512i sum[kTogether][4];
  begin(strip, sum);
  const std::int64_t height = strip.args.kernel.height, result_bytes = height * strip.groups * 256;
  const std::uint8_t* weight = strip.block + kConstants;
  for (std::int64_t row = 0; row < height; ++row, x += strip.row_step) {
    for (std::int64_t group = 0; group < strip.groups; ++group, weight += 256) {
      __m512i taps[4];
      taps_at<kWhole>(strip, x, group, taps);
#pragma GCC unroll 4
      for (int t = 0; t < kTogether; ++t)
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q)
          sum[t][q] = _mm512_dpbusd_epi32(sum[t][q], taps[q], _mm512_loadu_si512(weight + t * result_bytes + q * 64));
    }
  }
  Place place[kTogether];
#pragma GCC unroll 4
  for (int t = 0; t < kTogether; ++t) place[t] = {at.out + t * strip.out_step, at.added + t * strip.added_step};
  finish_results<kTogether, kWhole>(strip, sum, place, finish);
}

// `width` results of a row; those that do not make up the number that shares columns come `alone`.
template <int kTogether, bool kWhole>
EDGEKIT_VNNI_TARGET void row_of(const Strip& strip, const Strip& alone, std::int64_t width, const std::uint8_t* x,
                                Place at, const Finish& finish) {
  std::int64_t j = 0;
  for (; j + kTogether <= width; j += kTogether)
    results<kTogether, kWhole>(strip, x + j * strip.x_step, at_step(at, strip, j), finish);
  for (; j < width; ++j) results<1, kWhole>(alone, x + j * strip.x_step, at_step(at, strip, j), finish);
}

// One row of a kernel of three rows and one group of columns, whose weights stay in registers.
template <bool kWhole>
EDGEKIT_VNNI_TARGET void row_of_three(const Strip& strip, const Strip&, std::int64_t width, const std::uint8_t* x,
                                      Place at, const Finish& finish) {
  __m512i weight[3][4];
#pragma GCC unroll 12
  for (int i = 0; i < 12; ++i) weight[i / 4][i % 4] = _mm512_loadu_si512(strip.block + kConstants + i * 64);
  for (std::int64_t j = 0; j < width; ++j) {
    __m512i sum[1][4];
    begin(strip, sum);
#pragma GCC unroll 3
    for (int row = 0; row < 3; ++row) {
      __m512i taps[4];
      taps_at<kWhole>(strip, x + j * strip.x_step + row * strip.row_step, 0, taps);
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) sum[0][q] = _mm512_dpbusd_epi32(sum[0][q], taps[q], weight[row][q]);
    }
    const Place place[1] = {at_step(at, strip, j)};
    finish_results<1, kWhole>(strip, sum, place, finish);
  }
}

// kTogether results of such a kernel, and those of the row below, which is the next one in x, too: they share what is
// interleaved, and each vector of weights that is loaded.
template <int kTogether, bool kWhole>
EDGEKIT_VNNI void results_of_two_rows(const Strip& strip, const std::uint8_t* x, Place at, const Finish& finish) {
  __m512i sum[2 * kTogether][4], upper[4], lower[4];
  begin(strip, sum);
  const std::uint8_t* weight = strip.block + kConstants;
  taps_at<kWhole>(strip, x, 0, upper);
#pragma GCC unroll 3
  for (int row = 0; row < 3; ++row) {
    taps_at<kWhole>(strip, x + (row + 1) * strip.row_step, 0, lower);
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
#pragma GCC unroll 2
      for (int t = 0; t < kTogether; ++t) {
        const __m512i w = _mm512_loadu_si512(weight + (t * 3 + row) * 256 + q * 64);
        sum[t][q] = _mm512_dpbusd_epi32(sum[t][q], upper[q], w);
        sum[kTogether + t][q] = _mm512_dpbusd_epi32(sum[kTogether + t][q], lower[q], w);
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
  finish_results<2 * kTogether, kWhole>(strip, sum, place, finish);
}

// Two rows of such a kernel that are neighbours in x, too.
template <int kTogether, bool kWhole>
EDGEKIT_VNNI_TARGET void two_rows(const Strip& strip, const Strip& alone, std::int64_t width, const std::uint8_t* x,
                                  Place at, const Finish& finish) {
  std::int64_t j = 0;
  for (; j + kTogether <= width; j += kTogether)
    results_of_two_rows<kTogether, kWhole>(strip, x + j * strip.x_step, at_step(at, strip, j), finish);
  for (; j < width; ++j) results_of_two_rows<1, kWhole>(alone, x + j * strip.x_step, at_step(at, strip, j), finish);
}

using Row = void (*)(const Strip&, const Strip&, std::int64_t, const std::uint8_t*, Place, const Finish&);

// What computes one row and, where rows are taken in pairs, two.
struct Rows {
  Row one, two;
};

template <bool kWhole>
Rows rows_for(const conv2d_s8_args& args, const Sharing& sharing) {
  constexpr Row any[kMost] = {row_of<1, kWhole>, row_of<2, kWhole>, row_of<3, kWhole>, row_of<4, kWhole>};
  const bool three = args.kernel.height == 3 && sharing.groups == 1;
  Rows rows = {any[sharing.together - 1], nullptr};
  if (three && sharing.together == 1) rows.one = row_of_three<kWhole>;
  if (three && args.stride.height == args.dilation.height) {
    if (sharing.together == 1) rows.two = two_rows<1, kWhole>;
    if (sharing.together == 2) rows.two = two_rows<2, kWhole>;
  }
  return rows;
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
  const Rows rows[2] = {rows_for<false>(args, sharing), rows_for<true>(args, sharing)};
  const bool side_by_side = pixels_of(args) > 1;
  Strip strip = {args,      nullptr,   sharing.groups, 0, {}, args.dilation.height * args.x_step.row,
                 kChannels, kChannels, kChannels};
  if (!side_by_side) {
    strip.x_step = args.stride.width * args.x_step.column;
    strip.out_step = args.out_step.column;
    strip.added_step = args.added.step.column;
  }
  Strip alone = strip;
  set_columns(strip, args, sharing.together);
  set_columns(alone, args, 1);
  const range share = share_of(args.images * args.out_size.height, part);
  for (std::int64_t at = share.begin; at < share.end;) {
    const std::int64_t image = at / args.out_size.height, row = at % args.out_size.height;
    const bool two = rows[0].two && at + 1 < share.end && row + 1 < args.out_size.height;
    const auto* x = reinterpret_cast<const std::uint8_t*>(args.x) + image * args.x_step.image +
                    (row * args.stride.height - args.padding.height) * args.x_step.row -
                    args.padding.width * args.x_step.column;
    auto* out = reinterpret_cast<std::uint8_t*>(args.out) + image * args.out_step.image + row * args.out_step.row;
    const auto* added = reinterpret_cast<const std::uint8_t*>(args.added.x);
    if (added) added += image * args.added.step.image + row * args.added.step.row;
    const auto run = [&](std::int64_t block, std::int64_t begin, std::int64_t width, std::int64_t channels) {
      strip.block = alone.block = packed + kHeader + block * block_bytes(args);
      strip.channels = alone.channels = first(channels);
      const Rows& own = rows[channels >= kChannels];
      (two ? own.two : own.one)(strip, alone, width, x + begin, {out + begin, added + begin}, finish);
    };
    if (side_by_side) {
      const std::int64_t bytes = args.out_channels * args.out_size.width, whole = bytes / kChannels;
      if (whole) run(0, 0, whole, kChannels);
      if (bytes % kChannels) run(0, whole * kChannels, 1, bytes % kChannels);
    } else {
      for (std::int64_t begin = 0; begin < args.out_channels; begin += kChannels)
        run(begin / kChannels, begin, args.out_size.width, args.out_channels - begin);
    }
    at += two ? 2 : 1;
  }
}

}  // namespace edgekit::vnni

#endif
