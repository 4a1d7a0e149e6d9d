// What the tiles of dense products share: where their pixels and features are, and the last step of sums to memory.
#pragma once

#include "product_pack.h"
#include "vnni.h"

#if defined(__x86_64__)

#include <algorithm>

namespace edgekit::vnni {

constexpr int kBlock = 32;
constexpr Packing kPacking = {kBlock, kLanes, true};
constexpr int kGroup = 128;  // pixels whose places are looked up once for all blocks

using Pointers = const std::uint8_t* const*;

// Where the pixels of a group are, one after the other.
struct Spots {
  const std::uint8_t* x[kGroup];
  std::uint8_t* out[kGroup];
  const std::uint8_t* added[kGroup];
};

// The block of features that a tile is for.
struct Block {
  const std::uint8_t* packed;
  std::int64_t at;  // its first feature
  int count;        // features that exist
};

EDGEKIT_VNNI Block block_of(const Product& product, const void* packed, std::int64_t block) {
  return {block_at(product, kPacking, packed, block), block * kBlock,
          static_cast<int>(std::min<std::int64_t>(product.features - block * kBlock, kBlock))};
}

// Where the runs of a window begin, one after the other.
class Runs {
 public:
  explicit Runs(const Product& product)
      : columns_(product.run_columns), row_(product.run_row), column_(product.run_column) {}

  std::int64_t next() {
    if (++at_ < columns_) return begin_ += column_;
    at_ = 0;
    begin_ = first_ += row_;
    return begin_;
  }

 private:
  std::int64_t columns_, row_, column_;
  std::int64_t at_ = 0, first_ = 0, begin_ = 0;
};

// Sixteen bytes of each vector to one pixel after the other.
template <int kPixels, int kVectors>
EDGEKIT_VNNI void store(__m512i bytes, std::uint8_t* const* out, const Block& block) {
  const __m256i half[2] = {_mm512_castsi512_si256(bytes), _mm512_extracti64x4_epi64(bytes, 1)};
#pragma GCC unroll 4
  for (int m = 0; m < kPixels; ++m) {
    std::uint8_t* to = out[m] + block.at;
    if constexpr (kVectors == 2) {
      if (block.count == 32) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), half[m]);
      } else {
        _mm256_mask_storeu_epi8(to, (1u << block.count) - 1, half[m]);
      }
    } else {
      const __m128i own = m % 2 ? _mm256_extracti128_si256(half[m / 2], 1) : _mm256_castsi256_si128(half[m / 2]);
      if (block.count == 16) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), own);
      } else {
        _mm_mask_storeu_epi8(to, static_cast<__mmask16>((1u << block.count) - 1), own);
      }
    }
  }
}

// What is added to a vector of a pixel's features, from where the pixel is: no more is read than there is.
EDGEKIT_VNNI __m128i residual_at(const std::uint8_t* added, const Block& block, int vector) {
  const int left = block.count - vector * kLanes;
  const auto taken = static_cast<__mmask16>(left >= kLanes ? 0xffff : (1u << left) - 1);
  return _mm_maskz_loadu_epi8(taken, added + block.at + vector * kLanes);
}

// Pixels of a group times blocks of features.
using Tiles = void (*)(const Product&, const void*, const Spots&, range, range, const Finish&);

}  // namespace edgekit::vnni

#endif
