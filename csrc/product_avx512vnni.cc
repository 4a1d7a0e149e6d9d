// Tiles of up to 8 pixels x 32 features in registers: sixteen sums, two vectors of weights and a broadcast of four
// bytes of x. The other registers hold what turns sums into bytes, so that this overlaps with the products of the next
// tile: tiles of 14 pixels multiply as fast, but their sums leave no room for it. Every loop over the sums is unrolled
// in full: otherwise GCC keeps them on the stack, at a third of the speed.
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

constexpr int kRows = 8, kBlock = 32;
constexpr Packing kPacking = {kBlock, kLanes, true};
constexpr int kGroup = 16 * kRows;              // pixels whose places are looked up once for all blocks
constexpr std::int64_t kResident = 512 * 1024;  // bytes that stay in a second-level cache beside what streams past them
constexpr std::int64_t kChunk = 256 * 1024;     // bytes of x that are read again for each block of features

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

// The sums of one tile; bias is in them already.
template <int kPixels, int kVectors>
EDGEKIT_VNNI void multiply_tile(const Product& product, const Block& block, Pointers pixels,
                                __m512i (&result)[kPixels][kVectors]) {
  constexpr int kSums = kPixels * kVectors, kSplit = kSums >= 5 ? 1 : kSums >= 3 ? 2 : 4;
  const std::uint8_t* x[kPixels];
#pragma GCC unroll 8
  for (int m = 0; m < kPixels; ++m) x[m] = pixels[m];
  const std::uint8_t* weight = block.packed + kVectors * 128;
  __m512i sum[kSplit][kPixels][kVectors];
#pragma GCC unroll 4
  for (int s = 0; s < kSplit; ++s)
#pragma GCC unroll 8
    for (int m = 0; m < kPixels; ++m)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v)
        sum[s][m][v] = s == 0 ? _mm512_loadu_si512(block.packed + v * 64) : _mm512_setzero_si512();
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
#pragma GCC unroll 8
  for (int m = 0; m < kPixels; ++m)
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      result[m][v] = sum[0][m][v];
#pragma GCC unroll 4
      for (int s = 1; s < kSplit; ++s) result[m][v] = _mm512_add_epi32(result[m][v], sum[s][m][v]);
    }
}

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

// Four vectors at a time to bytes: value(m, v) is the rounded one of pixel m.
template <int kPixels, int kVectors, class Value>
EDGEKIT_VNNI void store_tile(std::uint8_t* const* out, const Block& block, const Finish& finish, Value value) {
  constexpr int kTogether = 4 / kVectors;
#pragma GCC unroll 8
  for (int m = 0; m < kPixels; m += kTogether) {
    const __m512i none = _mm512_setzero_si512();
    __m512i four[4] = {none, none, none, none};
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
      if (m + i / kVectors < kPixels) four[i] = value(m + i / kVectors, i % kVectors);
    const __m512i bytes = in_order(pack(four[0], four[1], four[2], four[3], finish));
    if (m + kTogether <= kPixels) {
      store<kTogether, kVectors>(bytes, out + m, block);
    } else {
      store<kPixels % kTogether ? kPixels % kTogether : 1, kVectors>(bytes, out + m, block);
    }
  }
}

template <int kPixels, int kVectors>
EDGEKIT_VNNI void finish_tile(__m512i (&sum)[kPixels][kVectors], const Spots& spots, std::int64_t at,
                              const Block& block, const Finish& finish) {
  const auto* multiplier = reinterpret_cast<const float*>(block.packed + kVectors * 64);
  __m512 factor[kVectors];
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) factor[v] = _mm512_loadu_ps(multiplier + v * kLanes);
  if (finish.wide) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 8
      for (int m = 0; m < kPixels; ++m) sum[m][v] = scale_wide(sum[m][v], factor[v]);
      factor[v] = _mm512_set1_ps(1.0f);
    }
  }
  if (!finish.add) {
    store_tile<kPixels, kVectors>(spots.out + at, block, finish,
                                  [&](int m, int v) EDGEKIT_VNNI_LAMBDA { return scale(sum[m][v], factor[v]); });
    return;
  }
  const __mmask16 taken[2] = {
      static_cast<__mmask16>(block.count >= kLanes ? 0xffff : (1u << block.count) - 1),
      static_cast<__mmask16>(block.count >= 2 * kLanes ? 0xffff : (1u << (block.count & 15)) - 1)};
  const auto other = [&](int m, int v) EDGEKIT_VNNI_LAMBDA {
    return _mm_maskz_loadu_epi8(taken[v], spots.added[at + m] + block.at + v * kLanes);
  };
  if (finish.first) {
    store_tile<kPixels, kVectors>(spots.out + at, block, finish, [&](int m, int v) EDGEKIT_VNNI_LAMBDA {
      return scale_and_add<true>(sum[m][v], factor[v], other(m, v), finish);
    });
  } else {
    store_tile<kPixels, kVectors>(spots.out + at, block, finish, [&](int m, int v) EDGEKIT_VNNI_LAMBDA {
      return scale_and_add<false>(sum[m][v], factor[v], other(m, v), finish);
    });
  }
}

// Tiles of kPixels each, pixels [begin, end) of a group, times blocks of as many vectors.
template <int kPixels, int kVectors>
EDGEKIT_VNNI_TARGET void tiles(const Product& product, const void* packed, const Spots& spots, range pixels,
                               range blocks, const Finish& finish) {
  const Product own = product;  // copies, since a store of bytes might change what the references mean
  const Finish rest = finish;
  for (std::int64_t b = blocks.begin; b < blocks.end; ++b) {
    const Block block = {block_at(own, kPacking, packed, b), b * kBlock,
                         static_cast<int>(std::min<std::int64_t>(own.features - b * kBlock, kBlock))};
    for (std::int64_t at = pixels.begin; at < pixels.end; at += kPixels) {
      __m512i sum[kPixels][kVectors];
      multiply_tile<kPixels, kVectors>(own, block, spots.x + at, sum);
      finish_tile<kPixels, kVectors>(sum, spots, at, block, rest);
    }
  }
}

using Tiles = void (*)(const Product&, const void*, const Spots&, range, range, const Finish&);

#define EDGEKIT_TILES(vectors)                                                 \
  {tiles<1, vectors>, tiles<2, vectors>, tiles<3, vectors>, tiles<4, vectors>, \
   tiles<5, vectors>, tiles<6, vectors>, tiles<7, vectors>, tiles<8, vectors>}
constexpr Tiles kTiles[2][kRows] = {EDGEKIT_TILES(1), EDGEKIT_TILES(2)};
#undef EDGEKIT_TILES

// The pixels of a group, in tiles of nearly the same height, times blocks: the last one may be of one vector.
EDGEKIT_VNNI_TARGET void group(const Product& product, const void* packed, const Finish& finish, const Spots& spots,
                               std::int64_t count, range blocks) {
  const std::int64_t tiles = (count + kRows - 1) / kRows, height = count / tiles, higher = count % tiles * (height + 1);
  const std::int64_t wide = std::min(blocks.end, (product.features + kLanes - 1) / kBlock);  // of two vectors
  const range parts[2] = {{wide, blocks.end}, {blocks.begin, wide}};
  for (int v = 0; v < 2; ++v) {
    if (parts[v].begin >= parts[v].end) continue;
    if (higher) kTiles[v][height](product, packed, spots, {0, higher}, parts[v], finish);
    kTiles[v][height - 1](product, packed, spots, {higher, count}, parts[v], finish);
  }
}

// Pixels times blocks: groups of nearly the same size, each with all blocks in turn.
EDGEKIT_VNNI_TARGET void rectangle(const Product& product, const void* packed, const Finish& finish, range pixels,
                                   range blocks) {
  const std::int64_t all = pixels.end - pixels.begin, groups = (all + kGroup - 1) / kGroup;
  Cursor cursor(product, pixels.begin);
  for (std::int64_t g = 0; g < groups; ++g) {
    Spots spots;
    const range own = share_of(all, {static_cast<unsigned>(g), static_cast<unsigned>(groups), nullptr});
    for (std::int64_t m = 0; m < own.end - own.begin; ++m, cursor.next()) {
      spots.x[m] = cursor.x;
      spots.out[m] = cursor.out;
      if (finish.add) spots.added[m] = cursor.added;
    }
    group(product, packed, finish, spots, own.end - own.begin, blocks);
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
  if (product.features * product.fan_in() <= kResident) {
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
