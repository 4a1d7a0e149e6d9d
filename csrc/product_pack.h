// Packs the weights of a product in blocks of features, for every tier that multiplies four bytes of a run at a time:
//
//   header (64 bytes) | for each block: bias int32 [width], multiplier float32 [width], weight int8
//   [run][quad][width][4]
//
// Whatever fills a quad, or a block, is 0.
#pragma once

#include <cstddef>
#include <cstdint>

#include "product.h"

namespace edgekit {

// How a micro-kernel wants its weights: features of a block, of which the last has a multiple of `vector` only; and
// whether activations come as q + 128, so that -128 * sum(weights) belongs to the bias.
struct Packing {
  int block, vector;
  bool biased;
};

struct PackedHeader {
  std::uint32_t wide;  // a sum times its multiplier may not fit int32
};

inline std::int64_t blocks_of(const Product& product, const Packing& packing) {
  return (product.features + packing.block - 1) / packing.block;
}

inline int width_of(const Product& product, const Packing& packing, std::int64_t block) {
  const std::int64_t left = product.features - block * packing.block;
  return left >= packing.block ? packing.block
                               : static_cast<int>((left + packing.vector - 1) / packing.vector * packing.vector);
}

inline const std::uint8_t* block_at(const Product& product, const Packing& packing, const void* packed,
                                    std::int64_t block) {
  return static_cast<const std::uint8_t*>(packed) + 64 + block * packing.block * (product.fan_in() + 8);
}

inline bool is_wide(const void* packed) {
  return static_cast<const PackedHeader*>(packed)->wide != 0;
}

// Whether sums of this magnitude may pass int32 once they are scaled.
bool is_wide(double largest, float multiplier);

std::size_t packed_bytes(const Product& product, const Packing& packing);

void pack_weights(const Product& product, const Filters& filters, const Packing& packing, void* to);

}  // namespace edgekit
