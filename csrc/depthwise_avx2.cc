// Sixteen channels side by side are widened to int16; taps go in pairs, interleaved so that vpmaddwd adds the two
// products of each channel exactly. Interleaving works on 128-bit lanes, and packing the results back undoes its order.
//
//   packed = for each 16 channels: bias int32 [2][8], multiplier float32 [2][8], weight int16 [pair of taps][2][8][2]
//
// Exact: a sum of K <= 131,071 products fits int32, with its bias by the room that edgekit leaves; else it wraps, as
// the reference's.
#include "depthwise_avx2.h"

#if defined(__x86_64__)

#include <algorithm>
#include <cstring>

#include "avx2.h"

namespace edgekit::avx2 {

namespace {

constexpr int kChannels = 16, kMostTaps = 128;
constexpr std::int64_t kConstants = 128;

std::int64_t taps_of(const conv2d_s8_args& args) {
  return args.kernel.height * args.kernel.width;
}

std::int64_t block_bytes(const conv2d_s8_args& args) {
  return kConstants + (taps_of(args) + 1) / 2 * 64;
}

// The channel in int32 lane `lane` of half `half`, after two vectors of int16 were interleaved.
constexpr int channel_at(int half, int lane) {
  return lane / 4 * 8 + half * 4 + lane % 4;
}

EDGEKIT_AVX2 __m256i widened(const std::int8_t* x, int count) {
  return _mm256_cvtepi8_epi16(bytes_at(x, count));
}

// Where each tap of a window begins, an odd number of them made even: the last weight of such a pair is 0.
struct Window {
  std::int64_t taps;
  std::int64_t offset[kMostTaps + 1];

  explicit Window(const conv2d_s8_args& args) : taps(taps_of(args)) {
    for (std::int64_t k = 0; k < taps; ++k)
      offset[k] = k / args.kernel.width * args.dilation.height * args.x_step.row +
                  k % args.kernel.width * args.dilation.width * args.x_step.column;
    offset[taps] = offset[taps - 1];
  }
};

// One pixel of up to sixteen channels, x at its first tap; kTaps of them, or as many as the window has where it is 0.
template <int kTaps>
EDGEKIT_AVX2 void pixel(const Window& window, const std::uint8_t* block, const std::int8_t* x, int count,
                        const Finish& finish, const std::uint8_t* added, std::uint8_t* out) {
  __m256i sum[2] = {load(block), load(block + 32)};
  const std::uint8_t* weight = block + kConstants;
  const std::int64_t taps = kTaps ? kTaps : window.taps;
#pragma GCC unroll 8
  for (std::int64_t k = 0; k < taps; k += 2, weight += 64) {
    const __m256i first = widened(x + window.offset[k], count), second = widened(x + window.offset[k + 1], count);
    sum[0] = _mm256_add_epi32(sum[0], _mm256_madd_epi16(_mm256_unpacklo_epi16(first, second), load(weight)));
    sum[1] = _mm256_add_epi32(sum[1], _mm256_madd_epi16(_mm256_unpackhi_epi16(first, second), load(weight + 32)));
  }
  const auto* multiplier = reinterpret_cast<const float*>(block + 64);
  __m256i other[2] = {};
  if (added) {
    const __m256i x16 = widened(reinterpret_cast<const std::int8_t*>(added), count);
    const __m256i sign = _mm256_cmpgt_epi16(_mm256_setzero_si256(), x16);
    other[0] = _mm256_unpacklo_epi16(x16, sign);
    other[1] = _mm256_unpackhi_epi16(x16, sign);
  }
  const __m256i y0 = scale(sum[0], _mm256_loadu_ps(multiplier), added ? &other[0] : nullptr, finish);
  const __m256i y1 = scale(sum[1], _mm256_loadu_ps(multiplier + 8), added ? &other[1] : nullptr, finish);
  store(out, _mm256_packs_epi32(y0, y1), count);
}

// kCount channels, or `count` where it is 0.
template <int kTaps, int kCount>
EDGEKIT_AVX2_TARGET void row_of(const conv2d_s8_args& args, const Window& window, const std::uint8_t* block,
                                const std::int8_t* x, int count, const Finish& finish, const std::uint8_t* added,
                                std::uint8_t* out) {
  if (kCount) count = kCount;
  const std::int64_t step = args.stride.width * args.x_step.column;
  for (std::int64_t j = 0; j < args.out_size.width; ++j)
    pixel<kTaps>(window, block, x + j * step, count, finish, added ? added + j * args.added.step.column : nullptr,
                 out + j * args.out_step.column);
}

}  // namespace

const char* depthwise_refuses(const conv2d_s8_args& args) {
  return taps_of(args) > kMostTaps ? "a depthwise kernel of more than 128 taps" : nullptr;
}

std::size_t depthwise_packed_bytes(const conv2d_s8_args& args) {
  return static_cast<std::size_t>((args.out_channels + kChannels - 1) / kChannels * block_bytes(args));
}

void pack_depthwise(const conv2d_s8_args& args, void* to) {
  std::memset(to, 0, depthwise_packed_bytes(args));
  const steps& step = args.weight_step;
  for (std::int64_t at = 0; at < (args.out_channels + kChannels - 1) / kChannels * kChannels; ++at) {
    const int half = static_cast<int>(at % kChannels / 8), lane = static_cast<int>(at % 8);
    const std::int64_t o = at / kChannels * kChannels + channel_at(half, lane);
    if (o >= args.out_channels) continue;
    auto* block = static_cast<std::uint8_t*>(to) + at / kChannels * block_bytes(args);
    auto* weight = reinterpret_cast<std::int16_t*>(block + kConstants);
    std::memcpy(block + (half * 8 + lane) * 4, args.bias + o, 4);
    std::memcpy(block + 64 + (half * 8 + lane) * 4, args.multiplier + o, 4);
    for (std::int64_t k = 0; k < taps_of(args); ++k)
      weight[((k / 2 * 2 + half) * 8 + lane) * 2 + k % 2] =
          args.weight[o * step.image + k / args.kernel.width * step.row + k % args.kernel.width * step.column];
  }
}

EDGEKIT_AVX2_TARGET void depthwise(const conv2d_s8_args& args, const part& part) {
  const Finish finish = finish_of(args.limit, args.added);
  const Window window(args);
  const range rows = share_of(args.images * args.out_size.height, part);
  for (std::int64_t at = rows.begin; at < rows.end; ++at) {
    const std::int64_t image = at / args.out_size.height, row = at % args.out_size.height;
    const std::int8_t* x = args.x + image * args.x_step.image +
                           (row * args.stride.height - args.padding.height) * args.x_step.row -
                           args.padding.width * args.x_step.column;
    auto* out = reinterpret_cast<std::uint8_t*>(args.out) + image * args.out_step.image + row * args.out_step.row;
    const auto* added = reinterpret_cast<const std::uint8_t*>(args.added.x);
    if (added) added += image * args.added.step.image + row * args.added.step.row;
    for (std::int64_t first = 0; first < args.out_channels; first += kChannels) {
      const auto* block = static_cast<const std::uint8_t*>(args.packed) + first / kChannels * block_bytes(args);
      const int count = static_cast<int>(std::min<std::int64_t>(args.out_channels - first, kChannels));
      const auto of = window.taps != 9 ? row_of<0, 0> : count == kChannels ? row_of<9, kChannels> : row_of<9, 0>;
      of(args, window, block, x + first, count, finish, added ? added + first : nullptr, out + first);
    }
  }
}

}  // namespace edgekit::avx2

#endif
