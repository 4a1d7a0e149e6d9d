// Tiles of up to 8 pixels x 32 features in registers: sixteen sums, two vectors of weights and a broadcast of four
// bytes of x. The other registers hold what turns sums into bytes, so that this overlaps with the products of the next
// tile: tiles of 14 pixels multiply as fast, but their sums leave no room for it. Every loop over the sums is unrolled
// in full: otherwise GCC keeps them on the stack, at a third of the speed.
//
// Exact: a sum of K <= 131,071 products fits int32, and sums that are biased on the way wrap back (vnni.h).
#include "product_avx512vnni.h"

#if defined(__x86_64__)

#include <algorithm>

#include "product_pack_avx512vnni.h"
#include "product_row_avx512vnni.h"
#include "product_small_avx512vnni.h"

// GCC 12's partial redundancy elimination gives each dot product a second home, and puts half of the sums on the stack.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-pre")
#endif

namespace edgekit::vnni {

namespace {

constexpr int kRows = 8;
constexpr std::int64_t kResident = 512 * 1024;  // bytes that stay in a second-level cache beside what streams past them
constexpr std::int64_t kChunk = 256 * 1024;     // bytes of x that are read again for each block of features

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
  const auto other = [&](int m, int v) EDGEKIT_VNNI_LAMBDA { return residual_at(spots.added[at + m], block, v); };
  if (finish.first) {
    store_tile<kPixels, kVectors>(spots.out + at, block, finish, [&](int m, int v) EDGEKIT_VNNI_LAMBDA {
      return plus<true>(scale(sum[m][v], factor[v]), other(m, v), finish);
    });
  } else {
    store_tile<kPixels, kVectors>(spots.out + at, block, finish, [&](int m, int v) EDGEKIT_VNNI_LAMBDA {
      return plus<false>(scale(sum[m][v], factor[v]), other(m, v), finish);
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
    const Block block = block_of(own, packed, b);
    for (std::int64_t at = pixels.begin; at < pixels.end; at += kPixels) {
      __m512i sum[kPixels][kVectors];
      multiply_tile<kPixels, kVectors>(own, block, spots.x + at, sum);
      finish_tile<kPixels, kVectors>(sum, spots, at, block, rest);
    }
  }
}

#define EDGEKIT_TILES(vectors)                                                 \
  {tiles<1, vectors>, tiles<2, vectors>, tiles<3, vectors>, tiles<4, vectors>, \
   tiles<5, vectors>, tiles<6, vectors>, tiles<7, vectors>, tiles<8, vectors>}
constexpr Tiles kTiles[2][kRows] = {EDGEKIT_TILES(1), EDGEKIT_TILES(2)};
#undef EDGEKIT_TILES

// Pixels of a group, in tiles of nearly the same height, times blocks of as many vectors.
EDGEKIT_VNNI_TARGET void group(const Product& product, const void* packed, const Spots& spots, range pixels,
                               range blocks, const Finish& finish, int vectors) {
  if (const Tiles small = small_tiles(product, finish, vectors)) {
    const std::int64_t whole = (pixels.end - pixels.begin) / kFew * kFew;
    if (whole) small(product, packed, spots, {pixels.begin, pixels.begin + whole}, blocks, finish);
    pixels.begin += whole;
  }
  const std::int64_t count = pixels.end - pixels.begin;
  if (count == 0) return;
  const std::int64_t tiles = (count + kRows - 1) / kRows, height = count / tiles,
                     middle = pixels.begin + count % tiles * (height + 1);
  if (middle > pixels.begin)
    kTiles[vectors - 1][height](product, packed, spots, {pixels.begin, middle}, blocks, finish);
  kTiles[vectors - 1][height - 1](product, packed, spots, {middle, pixels.end}, blocks, finish);
}

// Pixels times blocks: groups of nearly the same size, each with all blocks in turn. The last block may have one
// vector.
EDGEKIT_VNNI_TARGET void rectangle(const Product& product, const void* packed, const Finish& finish, range pixels,
                                   range blocks) {
  const std::int64_t all = pixels.end - pixels.begin, groups = (all + kGroup - 1) / kGroup;
  const std::int64_t two = std::min(blocks.end, (product.features + kLanes - 1) / kBlock);
  Cursor cursor(product, pixels.begin);
  for (std::int64_t g = 0; g < groups; ++g) {
    Spots spots;
    const range own = share_of(all, {static_cast<unsigned>(g), static_cast<unsigned>(groups), nullptr});
    const std::int64_t count = own.end - own.begin;
    for (std::int64_t m = 0; m < count;) {
      const std::int64_t run = std::min(cursor.left(), count - m);
      for (std::int64_t i = 0; i < run; ++i) {
        spots.x[m + i] = cursor.x + i * product.x_step.column;
        spots.out[m + i] = cursor.out + i * product.out_step.column;
        if (finish.add) spots.added[m + i] = cursor.added + i * product.added_step.column;
      }
      m += run;
      cursor.skip(run);
    }
    if (blocks.begin < two) group(product, packed, spots, {0, count}, {blocks.begin, two}, finish, 2);
    if (two < blocks.end) group(product, packed, spots, {0, count}, {two, blocks.end}, finish, 1);
  }
}

}  // namespace

std::size_t packed_bytes(const Product& product) {
  return edgekit::packed_bytes(product, kPacking);
}

void pack_weights(const Product& product, const Filters& filters, void* to) {
  if (is_in_rows(product, filters)) return pack_rows(product, filters, to);
  edgekit::pack_weights(product, filters, kPacking, to);
}

EDGEKIT_VNNI_TARGET void multiply(const Product& product, const void* packed, const bounds& limit,
                                  const residual& added, const part& part) {
  const std::int64_t pixels = product.pixels(), blocks = blocks_of(product, kPacking),
                     tiles = (pixels + kRows - 1) / kRows;
  if (is_row(product)) return multiply_row(product, packed, limit, added, share_of(blocks, part));
  const Finish finish = finish_of(limit, added, is_wide(packed));
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
