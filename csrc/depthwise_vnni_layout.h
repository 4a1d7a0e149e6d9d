// How the depthwise kernels of the AVX-512 VNNI tier cut channels into blocks, and how filters are packed for them:
//
//   packed = header | for each block: bias [4][16], multiplier [4][16], weight [result][row][group][4][64]
//
// A vector has 64 bytes. The last channels are fewer: 32 fill half of each vector, and 16 stand there twice, for two
// results. So do few channels of pixels that lie side by side.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ops.h"

namespace edgekit::vnni {

constexpr int kChannels = 64, kTaps = 4, kMost = 4;
constexpr int kColumns = 32;  // of a kernel, at the most
constexpr std::int64_t kHeader = 64, kConstants = 2 * 4 * 64;

// Pixels side by side in one vector, or 1: as many as fill it, where that takes less time than a block of 16 channels,
// and both images are dense along a row.
inline std::int64_t pixels_of(const conv2d_s8_args& args) {
  const std::int64_t channels = args.out_channels, stride = args.stride.width;
  const bool dense = args.x_step.column == channels && args.out_step.column == channels &&
                     (!args.added.x || args.added.step.column == channels);
  return dense && stride <= 2 && channels <= 8 * stride && kChannels % channels == 0 ? kChannels / channels : 1;
}

// Channels of the next block where `left` are left. Up to 48 make two blocks, which take less time than one of 64.
inline std::int64_t block_of(std::int64_t left) {
  return left > 48 ? 64 : left > 16 ? 32 : 16;
}

inline std::int64_t blocks_of(std::int64_t channels) {
  std::int64_t count = 0;
  for (; channels > 0; channels -= block_of(channels)) ++count;
  return count;
}

// How results share columns: `together` results read `groups` times four columns.
struct Sharing {
  int groups, together;
};

inline Sharing sharing_of(const conv2d_s8_args& args) {
  const auto width = static_cast<int>(args.kernel.width);
  const int groups = (width + kTaps - 1) / kTaps;
  if (args.dilation.width != 1 || args.stride.width > kTaps * groups || pixels_of(args) > 1) return {groups, 1};
  const int together = (kTaps * groups - width) / static_cast<int>(args.stride.width) + 1;
  return {groups, std::min(together, kMost)};
}

inline std::int64_t block_bytes(const conv2d_s8_args& args, const Sharing& sharing) {
  return kConstants + sharing.together * args.kernel.height * sharing.groups * 4 * 64;
}

// The byte of a column that int32 lane `lane` of its shuffled vector `q` holds.
constexpr int channel_at(int q, int lane) {
  return lane / 4 * 16 + q * 4 + lane % 4;
}

}  // namespace edgekit::vnni
