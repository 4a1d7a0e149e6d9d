// Packs the filters of depthwise convolutions as depthwise_vnni_layout.h has them.
#include "depthwise_avx512vnni.h"

#if defined(__x86_64__)

#include <cstdlib>
#include <cstring>

#include "depthwise_vnni_layout.h"
#include "product_pack.h"

namespace edgekit::vnni {

namespace {

// Weights of one channel, in lane `lane` of vectors `q`; what they sum to, and their magnitudes.
struct Sums {
  std::int64_t value, magnitude;
};

Sums pack_channel(const conv2d_s8_args& args, std::int64_t channel, int q, int lane, std::int8_t* weights) {
  const Sharing sharing = sharing_of(args);
  const steps& step = args.weight_step;
  const auto height = static_cast<int>(args.kernel.height), width = static_cast<int>(args.kernel.width);
  Sums sums = {0, 0};
  for (int row = 0; row < height; ++row) {
    for (int column = 0; column < width; ++column) {
      const std::int8_t w = args.weight[channel * step.image + row * step.row + column * step.column];
      sums.value += w;
      sums.magnitude += std::abs(static_cast<int>(w));
      for (int t = 0; t < sharing.together; ++t) {
        const int shifted = column + t * static_cast<int>(args.stride.width);
        const std::int64_t vector = ((t * height + row) * sharing.groups + shifted / kTaps) * 4 + q;
        weights[vector * 64 + lane * 4 + shifted % kTaps] = w;
      }
    }
  }
  return sums;
}

// `channels` of a vector are those from `first` on; further ones repeat them. True where a sum may be wide.
bool pack_block(const conv2d_s8_args& args, std::int64_t first, std::int64_t channels, std::uint8_t* block) {
  bool wide = false;
  for (int at = 0; at < kChannels; ++at) {
    const std::int64_t o = first + channel_at(at / 16, at % 16) % channels;
    if (o >= args.out_channels) continue;
    const Sums sums = pack_channel(args, o, at / 16, at % 16, reinterpret_cast<std::int8_t*>(block) + kConstants);
    const std::int32_t bias = args.bias[o];
    const auto folded = static_cast<std::uint32_t>(bias) - static_cast<std::uint32_t>(128 * sums.value);
    std::memcpy(block + at * 4, &folded, 4);
    std::memcpy(block + 256 + at * 4, args.multiplier + o, 4);
    const double largest = 128.0 * static_cast<double>(sums.magnitude) + std::abs(static_cast<double>(bias));
    wide |= is_wide(largest, args.multiplier[o]);
  }
  return wide;
}

}  // namespace

const char* depthwise_refuses(const conv2d_s8_args& args) {
  return args.kernel.width > kColumns ? "a depthwise kernel of more than 32 columns" : nullptr;
}

std::size_t depthwise_packed_bytes(const conv2d_s8_args& args) {
  return static_cast<std::size_t>(kHeader + blocks_of(args.out_channels) * block_bytes(args, sharing_of(args)));
}

void pack_depthwise(const conv2d_s8_args& args, void* to) {
  std::memset(to, 0, depthwise_packed_bytes(args));
  PackedHeader header = {0};
  auto* block = static_cast<std::uint8_t*>(to) + kHeader;
  const std::int64_t bytes = block_bytes(args, sharing_of(args));
  for (std::int64_t first = 0; first < args.out_channels; block += bytes) {
    const std::int64_t channels = block_of(args.out_channels - first);
    if (pack_block(args, first, pixels_of(args) > 1 ? args.out_channels : channels, block)) header.wide = 1;
    first += channels;
  }
  std::memcpy(to, &header, sizeof header);
}

}  // namespace edgekit::vnni

#endif
