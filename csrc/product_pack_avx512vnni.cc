// Four rows at a time are interleaved to quads of 32 features; what they sum up to is one more dot product, with ones.
//
// Exact: the sum of K <= 131,071 bytes fits int32, and 128 times it wraps as the products do (vnni.h).
#include "product_pack_avx512vnni.h"

#if defined(__x86_64__)

#include <algorithm>
#include <cstring>

#include "product_tile_avx512vnni.h"

namespace edgekit::vnni {

namespace {

// Up to 32 features of filters in rows.
struct Columns {
  const std::int8_t* weight;
  std::int64_t step, rows;
  __mmask32 taken;
  __m256i flip;

  // Row k as words; 0 where there is none, or no feature.
  EDGEKIT_VNNI __m512i row(std::int64_t k) const {
    if (k >= rows) return _mm512_setzero_si512();
    const __m256i bytes = _mm256_maskz_loadu_epi8(taken, weight + k * step);
    return _mm512_cvtepu8_epi16(_mm256_xor_si256(bytes, flip));
  }
};

EDGEKIT_VNNI Columns columns_of(const Product& product, const Filters& filters, std::int64_t first) {
  const std::int64_t count = std::min<std::int64_t>(product.features - first, kPacking.block);
  const auto taken = static_cast<__mmask32>(vnni::first(count));
  return {filters.weight + first, filters.step.channel, product.run_bytes, taken,
          _mm256_maskz_set1_epi8(taken, static_cast<char>(filters.flip))};
}

// Rows k to k + 3: a quad of each of 32 features.
EDGEKIT_VNNI void interleave(const Columns& from, std::int64_t k, __m512i (&quads)[2]) {
  const __m512i front = _mm512_or_si512(from.row(k), _mm512_slli_epi16(from.row(k + 1), 8));
  const __m512i back = _mm512_or_si512(from.row(k + 2), _mm512_slli_epi16(from.row(k + 3), 8));
  const __m512i low = _mm512_unpacklo_epi16(front, back), high = _mm512_unpackhi_epi16(front, back);
  quads[0] = _mm512_permutex2var_epi64(low, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), high);
  quads[1] = _mm512_permutex2var_epi64(low, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), high);
}

// All quads of one block; kVectors of 16 features exist.
template <int kVectors>
EDGEKIT_VNNI void pack_block(const Columns& from, std::uint8_t* weight, __m512i (&sum)[2]) {
  for (std::int64_t k = 0; k < from.rows; k += 4) {
    __m512i quads[2];
    interleave(from, k, quads);
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v, weight += 64) {
      _mm512_storeu_si512(weight, quads[v]);
      sum[v] = _mm512_dpbusd_epi32(sum[v], _mm512_set1_epi8(1), quads[v]);
    }
  }
}

// The largest bias and multiplier of what has been packed.
struct Largest {
  __m512i bias;
  __m512 multiplier;
};

EDGEKIT_VNNI void pack_scales(const Filters& filters, std::int64_t first, std::int64_t count, int width,
                              const __m512i (&sum)[2], std::uint8_t* block, Largest& largest) {
  for (int v = 0; v * kLanes < width; ++v) {
    const auto taken = static_cast<__mmask16>(vnni::first(count - v * kLanes));
    const __m512i bias = _mm512_maskz_loadu_epi32(taken, filters.bias + first + v * kLanes);
    const __m512 multiplier = _mm512_maskz_loadu_ps(taken, filters.multiplier + first + v * kLanes);
    _mm512_storeu_si512(block + v * 64, _mm512_sub_epi32(bias, _mm512_slli_epi32(sum[v], 7)));
    _mm512_storeu_ps(block + width * 4 + v * 64, multiplier);
    largest.bias = _mm512_max_epu32(largest.bias, _mm512_abs_epi32(bias));
    largest.multiplier = _mm512_max_ps(largest.multiplier, multiplier);
  }
}

}  // namespace

EDGEKIT_VNNI_TARGET void pack_rows(const Product& product, const Filters& filters, void* to) {
  Largest largest = {_mm512_setzero_si512(), _mm512_setzero_ps()};
  const std::int64_t blocks = blocks_of(product, kPacking);
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::int64_t first = b * kPacking.block;
    const int width = width_of(product, kPacking, b);
    auto* block = const_cast<std::uint8_t*>(block_at(product, kPacking, to, b));
    const Columns from = columns_of(product, filters, first);
    __m512i sum[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    if (width == kPacking.block) {
      pack_block<2>(from, block + width * 8, sum);
    } else {
      pack_block<1>(from, block + width * 8, sum);
    }
    pack_scales(filters, first, product.features - first, width, sum, block, largest);
  }
  const double sums = 128.0 * 128.0 * static_cast<double>(product.run_bytes) + _mm512_reduce_max_epu32(largest.bias);
  const PackedHeader header = {is_wide(sums, _mm512_reduce_max_ps(largest.multiplier)) ? 1u : 0u};
  std::memset(to, 0, 64);
  std::memcpy(to, &header, sizeof header);
}

}  // namespace edgekit::vnni

#endif
