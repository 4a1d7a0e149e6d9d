// Tiles of 6 pixels x 16 features: twelve sums, two vectors of weights and a pair of x fill 15 of the 16 registers.
// vpmaddubsw would saturate, so bytes are widened to int16 (weights as they are loaded, windows once for all features)
// and vpmaddwd adds two products exactly.
//
//   packed = for each 16 features: bias int32 [16], multiplier float32 [16], weight int8 [pair of the window][16][2]
//
// Exact: a sum of K <= 131,071 products fits int32, with its bias by the room that edgekit leaves; else it wraps, as
// the reference's.
#include "product_avx2.h"

#if defined(__x86_64__)

#include <algorithm>
#include <cstring>

#include "avx2.h"

// As in product_avx512vnni.cc: it would put sums on the stack.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-pre")
#endif

namespace edgekit::avx2 {

namespace {

constexpr int kRows = 6, kBlock = 16;
constexpr std::int64_t kChunk = 96 * 1024;  // bytes of widened windows that are read again for each block of features

std::int64_t pairs_of(const Product& product) {
  return (product.runs() * product.run_bytes + 1) / 2;
}

std::int64_t block_bytes(const Product& product) {
  return kBlock * (8 + 2 * pairs_of(product));
}

std::int64_t blocks_of(const Product& product) {
  return (product.features + kBlock - 1) / kBlock;
}

std::int64_t pixels_of_chunk(const Product& product) {
  const std::int64_t fit = kChunk / (4 * pairs_of(product) + 1) / kRows * kRows;
  return std::min(std::max<std::int64_t>(fit, kRows), (product.pixels() + kRows - 1) / kRows * kRows);
}

// Neither more is read than a run nor more written: what is left of it overlaps with what went before.
EDGEKIT_AVX2 void widen_run(const std::int8_t* run, std::int64_t length, std::int16_t* to) {
  const auto eight = [](const std::int8_t* from, std::int16_t* at) __attribute__((target("avx2,fma"), always_inline)) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(at), _mm_cvtepi8_epi16(bytes));
  };
  std::int64_t at = 0;
  for (; at + 16 <= length; at += 16)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + at),
                        _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(run + at))));
  if (at == length) return;
  if (length >= 8) {
    if (length - at > 8) eight(run + at, to + at);
    return eight(run + length - 8, to + length - 8);
  }
  for (; at < length; ++at) to[at] = run[at];
}

// One window, runs one after the other, widened; the odd last one is followed by 0.
EDGEKIT_AVX2_TARGET void widen(const Product& product, const std::uint8_t* x, std::int16_t* to) {
  to[2 * pairs_of(product) - 1] = 0;
  for (std::int64_t row = 0; row < product.run_rows; ++row)
    for (std::int64_t column = 0; column < product.run_columns; ++column, to += product.run_bytes) {
      const auto* run = reinterpret_cast<const std::int8_t*>(x + row * product.run_row + column * product.run_column);
      widen_run(run, product.run_bytes, to);
    }
}

EDGEKIT_AVX2 __m256i pair_at(const std::int16_t* x) {
  std::int32_t two;
  std::memcpy(&two, x, 4);
  return _mm256_set1_epi32(two);
}

EDGEKIT_AVX2 __m256i sixteen(const std::uint8_t* weight) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(weight)));
}

EDGEKIT_AVX2 void finish_pixel(__m256i low, __m256i high, const float* multiplier, std::uint8_t* out,
                               const std::uint8_t* added, const Finish& finish, int count) {
  __m256i other[2] = {};
  if (added) {
    const __m128i bytes = bytes_at(reinterpret_cast<const std::int8_t*>(added), count);
    other[0] = _mm256_cvtepi8_epi32(bytes);
    other[1] = _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes));
  }
  const __m256i y0 = scale(low, _mm256_loadu_ps(multiplier), added ? &other[0] : nullptr, finish);
  const __m256i y1 = scale(high, _mm256_loadu_ps(multiplier + 8), added ? &other[1] : nullptr, finish);
  store(out, _mm256_permute4x64_epi64(_mm256_packs_epi32(y0, y1), 0xd8), count);
}

template <int kPixels>
EDGEKIT_AVX2_TARGET void tile(std::int64_t pairs, const std::uint8_t* block, const std::int16_t* x,
                              std::uint8_t* const* out, const std::uint8_t* const* added, const Finish& finish,
                              int count) {
  __m256i sum[kPixels][2];
#pragma GCC unroll 6
  for (int m = 0; m < kPixels; ++m)
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) sum[m][v] = load(block + v * 32);
  const std::uint8_t* weight = block + kBlock * 8;
  std::int64_t pair = 0;
  if constexpr (kPixels == 1) {  // two at a time: a short loop with one product to hide behind waits for itself
    __m256i other[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (; pair + 2 <= pairs; pair += 2, weight += 64) {
      const __m256i one = pair_at(x + pair * 2), next = pair_at(x + pair * 2 + 2);
      sum[0][0] = _mm256_add_epi32(sum[0][0], _mm256_madd_epi16(one, sixteen(weight)));
      sum[0][1] = _mm256_add_epi32(sum[0][1], _mm256_madd_epi16(one, sixteen(weight + 16)));
      other[0] = _mm256_add_epi32(other[0], _mm256_madd_epi16(next, sixteen(weight + 32)));
      other[1] = _mm256_add_epi32(other[1], _mm256_madd_epi16(next, sixteen(weight + 48)));
    }
    for (int v = 0; v < 2; ++v) sum[0][v] = _mm256_add_epi32(sum[0][v], other[v]);
  }
  for (; pair < pairs; ++pair, weight += 32) {
    const __m256i w0 = sixteen(weight), w1 = sixteen(weight + 16);
#pragma GCC unroll 6
    for (int m = 0; m < kPixels; ++m) {
      const __m256i two = pair_at(x + (m * pairs + pair) * 2);
      sum[m][0] = _mm256_add_epi32(sum[m][0], _mm256_madd_epi16(two, w0));
      sum[m][1] = _mm256_add_epi32(sum[m][1], _mm256_madd_epi16(two, w1));
    }
  }
  const auto* multiplier = reinterpret_cast<const float*>(block + kBlock * 4);
  if (count == kBlock) {
#pragma GCC unroll 6
    for (int m = 0; m < kPixels; ++m) finish_pixel(sum[m][0], sum[m][1], multiplier, out[m], added[m], finish, kBlock);
  } else {
#pragma GCC unroll 6
    for (int m = 0; m < kPixels; ++m) finish_pixel(sum[m][0], sum[m][1], multiplier, out[m], added[m], finish, count);
  }
}

using Tile = void (*)(std::int64_t, const std::uint8_t*, const std::int16_t*, std::uint8_t* const*,
                      const std::uint8_t* const*, const Finish&, int);
constexpr Tile kTiles[kRows] = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};

// Pixels [begin, end), at most those of a chunk, times blocks [first, last).
EDGEKIT_AVX2_TARGET void chunk(const Product& product, const void* packed, const Finish& finish, bool adds,
                               range pixels, range blocks, std::int16_t* windows) {
  const std::int64_t pairs = pairs_of(product);
  Cursor each(product, pixels.begin);
  for (std::int64_t pixel = pixels.begin; pixel < pixels.end; ++pixel, each.next())
    widen(product, each.x, windows + (pixel - pixels.begin) * pairs * 2);
  for (std::int64_t block = blocks.begin; block < blocks.end; ++block) {
    const auto* weights = static_cast<const std::uint8_t*>(packed) + block * block_bytes(product);
    const int count = static_cast<int>(std::min<std::int64_t>(product.features - block * kBlock, kBlock));
    Cursor cursor(product, pixels.begin);
    for (std::int64_t pixel = pixels.begin; pixel < pixels.end; pixel += kRows) {
      const int height = static_cast<int>(std::min<std::int64_t>(pixels.end - pixel, kRows));
      std::uint8_t* out[kRows];
      const std::uint8_t* added[kRows];
      for (int m = 0; m < height; ++m, cursor.next()) {
        out[m] = cursor.out + block * kBlock;
        added[m] = adds ? cursor.added + block * kBlock : nullptr;
      }
      kTiles[height - 1](pairs, weights, windows + (pixel - pixels.begin) * pairs * 2, out, added, finish, count);
    }
  }
}

// Filters whose features lie side by side, as in the second matrix of a product of two: rows are interleaved as they
// are.
EDGEKIT_AVX2_TARGET void pack_rows(const Product& product, const Filters& filters, void* to) {
  const __m128i flip = _mm_set1_epi8(static_cast<char>(filters.flip));
  for (std::int64_t first = 0; first < product.features; first += kBlock) {
    const int count = static_cast<int>(std::min<std::int64_t>(product.features - first, kBlock));
    auto* block = static_cast<std::uint8_t*>(to) + first / kBlock * block_bytes(product);
    std::memset(block, 0, kBlock * 8);
    std::memcpy(block, filters.bias + first, count * 4);
    std::memcpy(block + kBlock * 4, filters.multiplier + first, count * 4);
    auto* weight = reinterpret_cast<__m128i*>(block + kBlock * 8);
    const std::int8_t* row = filters.weight + first;
    const auto next = [&](std::int64_t k) __attribute__((target("avx2,fma"), always_inline)) {
      return _mm_xor_si128(bytes_at(row + k * filters.step.channel, count), flip);
    };
    for (std::int64_t k = 0; k < product.run_bytes; k += 2, weight += 2) {
      const __m128i one = next(k), other = k + 1 < product.run_bytes ? next(k + 1) : _mm_setzero_si128();
      _mm_storeu_si128(weight, _mm_unpacklo_epi8(one, other));
      _mm_storeu_si128(weight + 1, _mm_unpackhi_epi8(one, other));
    }
  }
}

}  // namespace

std::size_t packed_bytes(const Product& product) {
  return static_cast<std::size_t>(blocks_of(product) * block_bytes(product));
}

void pack_weights(const Product& product, const Filters& filters, void* to) {
  if (filters.step.image == 1 && product.runs() == 1 && filters.channels == product.run_bytes)
    return pack_rows(product, filters, to);
  std::memset(to, 0, packed_bytes(product));
  for (std::int64_t o = 0; o < product.features; ++o) {
    auto* block = static_cast<std::uint8_t*>(to) + o / kBlock * block_bytes(product);
    std::memcpy(block + o % kBlock * 4, filters.bias + o, 4);
    std::memcpy(block + kBlock * 4 + o % kBlock * 4, filters.multiplier + o, 4);
    auto* weight = reinterpret_cast<std::int8_t*>(block + kBlock * 8);
    for (std::int64_t run = 0, k = 0; run < product.runs(); ++run)
      for (std::int64_t at = 0; at < product.run_bytes; ++at, ++k)
        weight[(k / 2 * kBlock + o % kBlock) * 2 + k % 2] = filters(product, o, run, at);
  }
}

std::size_t scratch_bytes(const Product& product) {
  return static_cast<std::size_t>(pixels_of_chunk(product) * pairs_of(product) * 4);
}

EDGEKIT_AVX2_TARGET void multiply(const Product& product, const void* packed, const bounds& limit,
                                  const residual& added, const part& part) {
  const std::int64_t pixels = product.pixels(), blocks = blocks_of(product), tiles = (pixels + kRows - 1) / kRows;
  if (pixels == 0 || blocks == 0) return;
  const bool by_pixel = tiles >= blocks;
  const range share = share_of(by_pixel ? tiles : blocks, part);
  const range mine = by_pixel ? range{share.begin * kRows, std::min(share.end * kRows, pixels)} : range{0, pixels};
  const range own = by_pixel ? range{0, blocks} : share;
  const Finish finish = finish_of(limit, added);
  const std::int64_t step = pixels_of_chunk(product);
  for (std::int64_t begin = mine.begin; begin < mine.end && own.begin < own.end; begin += step)
    chunk(product, packed, finish, added.x != nullptr, {begin, std::min(begin + step, mine.end)}, own,
          static_cast<std::int16_t*>(part.scratch));
}

}  // namespace edgekit::avx2

#endif
