#include "product_pack.h"

#include <cstdlib>
#include <cstring>

namespace edgekit {

bool is_wide(double largest, float multiplier) {
  constexpr double kLimit = 2147483000.0;  // a little below 2^31, for what float32 rounds
  return largest >= kLimit || largest * multiplier >= kLimit;
}

std::size_t packed_bytes(const Product& product, const Packing& packing) {
  const std::int64_t blocks = blocks_of(product, packing);
  const std::int64_t width = blocks ? (blocks - 1) * packing.block + width_of(product, packing, blocks - 1) : 0;
  return static_cast<std::size_t>(64 + (width * (product.fan_in() + 8) + 63) / 64 * 64);
}

void pack_weights(const Product& product, const Filters& filters, const Packing& packing, void* to) {
  std::memset(to, 0, packed_bytes(product, packing));
  PackedHeader header = {0};
  for (std::int64_t o = 0; o < product.features; ++o) {
    const std::int64_t in_block = o % packing.block;
    const int width = width_of(product, packing, o / packing.block);
    auto* block = const_cast<std::uint8_t*>(block_at(product, packing, to, o / packing.block));
    auto* weight = reinterpret_cast<std::int8_t*>(block) + width * 8;
    std::int64_t sum = 0, magnitude = 0;
    for (std::int64_t run = 0; run < product.runs(); ++run) {
      for (std::int64_t at = 0; at < product.run_bytes; ++at) {
        const std::int8_t w = filters(product, o, run, at);
        weight[((run * product.quads() + at / 4) * width + in_block) * 4 + at % 4] = w;
        sum += w;
        magnitude += std::abs(static_cast<int>(w));
      }
    }
    const auto folded =
        static_cast<std::uint32_t>(filters.bias[o]) - static_cast<std::uint32_t>(packing.biased ? 128 * sum : 0);
    std::memcpy(block + in_block * 4, &folded, 4);
    std::memcpy(block + width * 4 + in_block * 4, filters.multiplier + o, 4);
    const double largest = 128.0 * static_cast<double>(magnitude) + std::abs(static_cast<double>(filters.bias[o]));
    if (is_wide(largest, filters.multiplier[o])) header.wide = 1;
  }
  std::memcpy(to, &header, sizeof header);
}

}  // namespace edgekit
