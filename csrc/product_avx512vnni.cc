// Tiles of up to 14 pixels x 32 features in registers: 28 sums, two vectors of weights and a broadcast of four bytes of
// x fill 31 of the 32, so that a step loads 16 vectors for 28 dot products. Every loop over the sums is unrolled in
// full: otherwise GCC keeps them on the stack, at a third of the speed.
//
// Exact: a sum of K <= 131,071 products fits int32, and sums that are biased on the way wrap back (vnni.h).
#include "product_avx512vnni.h"

#if defined(__x86_64__)

#include <algorithm>

#include "product_pack.h"
#include "vnni.h"

// GCC 12's partial redundancy elimination gives each dot product a second home, and puts half of the sums on the stack.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-pre")
#endif

namespace edgekit::vnni {

namespace {

constexpr int kRows = 14, kBlock = 32;
constexpr Packing kPacking = {kBlock, kLanes, true};
constexpr std::int64_t kResident = 512 * 1024;  // bytes that stay in a second-level cache beside what streams past them
constexpr std::int64_t kChunk = 256 * 1024;     // bytes of x that are read again for each block of features

using Pointers = const std::uint8_t* const*;

template <int kVectors>
struct Store {
  // Sixteen bytes of each vector, for one pixel after the other; `count` features of the block exist.
  template <int kPixels>
  EDGEKIT_VNNI static void store(__m512i bytes, std::uint8_t* const* out, int count) {
    const __m256i half[2] = {_mm512_castsi512_si256(bytes), _mm512_extracti64x4_epi64(bytes, 1)};
    if constexpr (kVectors == 2) {
#pragma GCC unroll 2
      for (int m = 0; m < kPixels; ++m) put(half[m], out[m], count);
    } else {
#pragma GCC unroll 4
      for (int m = 0; m < kPixels; ++m)
        put(m % 2 ? _mm256_extracti128_si256(half[m / 2], 1) : _mm256_castsi256_si128(half[m / 2]), out[m], count);
    }
  }

  EDGEKIT_VNNI static void put(__m256i bytes, std::uint8_t* out, int count) {
    if (count == 32) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), bytes);
    } else {
      _mm256_mask_storeu_epi8(out, (1u << count) - 1, bytes);
    }
  }

  EDGEKIT_VNNI static void put(__m128i bytes, std::uint8_t* out, int count) {
    if (count == 16) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes);
    } else {
      _mm_mask_storeu_epi8(out, static_cast<__mmask16>((1u << count) - 1), bytes);
    }
  }
};

// Sums of one tile to bytes: bias is in them already.
template <int kPixels, int kVectors>
EDGEKIT_VNNI void finish_tile(__m512i (&sum)[kPixels][kVectors], const float* multiplier, std::uint8_t* const* out,
                              Pointers added, const Finish& finish, int count) {
  __m512 factor[kVectors];
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) factor[v] = _mm512_loadu_ps(multiplier + v * kLanes);
  if (finish.add) {
    const __mmask16 taken[2] = {static_cast<__mmask16>(count >= kLanes ? 0xffff : (1u << count) - 1),
                                static_cast<__mmask16>(count >= 2 * kLanes ? 0xffff : (1u << (count & 15)) - 1)};
#pragma GCC unroll 16
    for (int m = 0; m < kPixels; ++m) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        const __m128i other = _mm_maskz_loadu_epi8(taken[v], added[m] + v * kLanes);
        sum[m][v] = scale_and_add(sum[m][v], factor[v], other, finish);
      }
    }
  } else {
#pragma GCC unroll 16
    for (int m = 0; m < kPixels; ++m)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[m][v] = scale(sum[m][v], factor[v], finish.wide);
  }
  constexpr int kTogether = 4 / kVectors;
#pragma GCC unroll 16
  for (int m = 0; m < kPixels; m += kTogether) {
    const __m512i none = _mm512_setzero_si512();
    __m512i four[4] = {none, none, none, none};
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
      if (m + i / kVectors < kPixels) four[i] = sum[m + i / kVectors][i % kVectors];
    const __m512i bytes = in_order(pack(four[0], four[1], four[2], four[3], finish));
    if (m + kTogether <= kPixels) {
      Store<kVectors>::template store<kTogether>(bytes, out + m, count);
    } else {
      Store<kVectors>::template store<kPixels % kTogether ? kPixels % kTogether : 1>(bytes, out + m, count);
    }
  }
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

// kSteps quads of the current run for all pixels of a tile, each into sums of its own where there are several.
template <int kPixels, int kVectors, int kSplit, int kSteps>
EDGEKIT_VNNI void add_quads(__m512i (&sum)[kSplit][kPixels][kVectors], Pointers x, std::int64_t offset,
                            const std::uint8_t* weight) {
#pragma GCC unroll 4
  for (int s = 0; s < kSteps; ++s) {
    __m512i w[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) w[v] = _mm512_loadu_si512(weight + (s * kVectors + v) * 64);
#pragma GCC unroll 16
    for (int m = 0; m < kPixels; ++m) {
      const __m512i bytes = broadcast(x[m] + offset + s * 4);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[s][m][v] = _mm512_dpbusd_epi32(sum[s][m][v], bytes, w[v]);
    }
  }
}

template <int kPixels, int kVectors>
EDGEKIT_VNNI_TARGET void tile(const Product& product, const std::uint8_t* block, Pointers pixels,
                              std::uint8_t* const* out, Pointers added, const Finish& finish, int count) {
  constexpr int kSplit = kPixels == 1 ? 4 : kPixels <= 3 ? 2 : 1;
  const std::uint8_t* x[kPixels];
#pragma GCC unroll 16
  for (int m = 0; m < kPixels; ++m) x[m] = pixels[m];
  const auto* multiplier = reinterpret_cast<const float*>(block + kVectors * 64);
  const std::uint8_t* weight = block + kVectors * 128;
  __m512i sum[kSplit][kPixels][kVectors];
#pragma GCC unroll 4
  for (int s = 0; s < kSplit; ++s)
#pragma GCC unroll 16
    for (int m = 0; m < kPixels; ++m)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v)
        sum[s][m][v] = s == 0 ? _mm512_loadu_si512(block + v * 64) : _mm512_setzero_si512();
  // One loop over the whole window, not one for each level: GCC keeps the sums in registers in this form.
  const std::int64_t quads = product.quads();
  std::int64_t offset = 0, left = quads;
  Runs runs(product);
  for (std::int64_t all = product.runs() * quads; all > 0;) {
    const int steps = left >= kSplit ? kSplit : 1;
    if (kSplit > 1 && left < kSplit) {
      add_quads<kPixels, kVectors, kSplit, 1>(sum, x, offset, weight);
    } else {
      add_quads<kPixels, kVectors, kSplit, kSplit>(sum, x, offset, weight);
    }
    weight += steps * kVectors * 64;
    offset += steps * 4;
    all -= steps;
    left -= steps;
    if (left == 0) {
      left = quads;
      offset = runs.next();
    }
  }
#pragma GCC unroll 4
  for (int s = 1; s < kSplit; ++s)
#pragma GCC unroll 16
    for (int m = 0; m < kPixels; ++m)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[0][m][v] = _mm512_add_epi32(sum[0][m][v], sum[s][m][v]);
  finish_tile<kPixels, kVectors>(sum[0], multiplier, out, added, finish, count);
}

using Tile = void (*)(const Product&, const std::uint8_t*, Pointers, std::uint8_t* const*, Pointers, const Finish&,
                      int);

#define EDGEKIT_TILES(vectors)                                                                   \
  {tile<1, vectors>,  tile<2, vectors>,  tile<3, vectors>,  tile<4, vectors>, tile<5, vectors>,  \
   tile<6, vectors>,  tile<7, vectors>,  tile<8, vectors>,  tile<9, vectors>, tile<10, vectors>, \
   tile<11, vectors>, tile<12, vectors>, tile<13, vectors>, tile<14, vectors>}
constexpr Tile kTiles[2][kRows] = {EDGEKIT_TILES(1), EDGEKIT_TILES(2)};
#undef EDGEKIT_TILES

// Pixels [begin, end) times blocks [first, last): rows of tiles of nearly the same height, each with all blocks in
// turn.
EDGEKIT_VNNI_TARGET void rectangle(const Product& product, const void* packed, const Finish& finish, range pixels,
                                   range blocks) {
  const std::int64_t all = pixels.end - pixels.begin, tiles = (all + kRows - 1) / kRows;
  Cursor cursor(product, pixels.begin);
  for (std::int64_t t = 0; t < tiles; ++t) {
    const int height = static_cast<int>(all * (t + 1) / tiles - all * t / tiles);
    const std::uint8_t* x[kRows];
    const std::uint8_t* added[kRows];
    std::uint8_t* out[kRows];
    for (int m = 0; m < height; ++m, cursor.next()) {
      x[m] = cursor.x;
      out[m] = cursor.out + blocks.begin * kBlock;
      added[m] = finish.add ? cursor.added + blocks.begin * kBlock : nullptr;
    }
    for (std::int64_t block = blocks.begin; block < blocks.end; ++block) {
      const int count = static_cast<int>(std::min<std::int64_t>(product.features - block * kBlock, kBlock));
      kTiles[width_of(product, kPacking, block) / kLanes - 1][height - 1](
          product, block_at(product, kPacking, packed, block), x, out, added, finish, count);
      for (int m = 0; m < height; ++m) out[m] += kBlock;
      if (finish.add)
        for (int m = 0; m < height; ++m) added[m] += kBlock;
    }
  }
}

}  // namespace

std::size_t packed_bytes(const Product& product) {
  return edgekit::packed_bytes(product, kPacking);
}

void pack_weights(const Product& product, const Filters& filters, void* to) {
  edgekit::pack_weights(product, filters, kPacking, to);
}

EDGEKIT_VNNI_TARGET void multiply(const Product& product, const void* packed, const bounds& limit,
                                  const residual& added, const part& part) {
  const Finish finish = finish_of(limit, added, is_wide(packed));
  const std::int64_t pixels = product.pixels(), blocks = blocks_of(product, kPacking),
                     tiles = (pixels + kRows - 1) / kRows;
  if (pixels == 0 || blocks == 0) return;
  range mine = {0, pixels}, own = {0, blocks};
  if (tiles >= blocks) {
    const range share = share_of(tiles, part);  // whole tiles, so that no part has a ragged one of its own
    mine = {pixels * share.begin / tiles, pixels * share.end / tiles};
  } else {
    own = share_of(blocks, part);
  }
  if (mine.begin == mine.end || own.begin == own.end) return;
  if (static_cast<std::int64_t>(packed_bytes(product)) <= kResident) {
    rectangle(product, packed, finish, mine, own);
    return;
  }
  // Weights that do not stay in the cache are read once for each chunk of pixels that does.
  const std::int64_t bytes = std::max<std::int64_t>(product.x_step.column * product.run_rows, 1);
  const std::int64_t chunk = std::max<std::int64_t>(kChunk / bytes / kRows, 1) * kRows;
  for (std::int64_t begin = mine.begin; begin < mine.end; begin += chunk)
    for (std::int64_t block = own.begin; block < own.end; ++block)
      rectangle(product, packed, finish, {begin, std::min(begin + chunk, mine.end)}, {block, block + 1});
}

}  // namespace edgekit::vnni

#endif
