// Products whose windows have few quads: their weights stay in registers, and there are too few products for a
// processor to find work beside the way to bytes by itself. So four vectors are multiplied while those before become
// bytes, a step between two quads.
#include "product_small_avx512vnni.h"

#if defined(__x86_64__)

// As in product_avx512vnni.cc.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-pre")
#endif

namespace edgekit::vnni {

namespace {

constexpr int kFewQuads = 10;

// The steps from four sums to bytes in the pixels from `at` on, one at a time.
template <int kVectors>
struct Steps {
  const Spots& spots;
  const Block& block;
  const Finish& finish;
  __m512 factor[kVectors];
  __m512i y[4];
  __m512 value[4];
  std::int64_t at;

  EDGEKIT_VNNI void take(int step) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      if (step == 0) stay(value[i] = _mm512_cvtepi32_ps(y[i]));
      if (step == 1) stay(value[i] = _mm512_mul_ps(value[i], factor[i % kVectors]));
      if (step == 2) stay(y[i] = _mm512_cvtps_epi32(value[i]));
    }
    if (step == 3) {
      if (finish.add) add();
      store<4 / kVectors, kVectors>(in_order(pack(y[0], y[1], y[2], y[3], finish)), spots.out + at, block);
    }
  }

  EDGEKIT_VNNI void add() {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      y[i] = plus(y[i], residual_at(spots.added[at + i / kVectors], block, i % kVectors), finish);
    }
  }
};

// Windows of kQuads quads, pixels [begin, end) of a group, times blocks of as many vectors.
template <int kQuads, int kVectors>
EDGEKIT_VNNI_TARGET void small_windows(const Product& product, const void* packed, const Spots& spots, range pixels,
                                       range blocks, const Finish& finish) {
  constexpr int kUnit = 4 / kVectors;
  const Finish rest = finish;  // as in tiles
  std::int64_t offset[kQuads], left = product.quads(), begin = 0;
  Runs runs(product);
  for (std::int64_t& each : offset) {
    each = begin;
    begin += 4;
    if (--left == 0) {
      left = product.quads();
      begin = runs.next();
    }
  }
  for (std::int64_t b = blocks.begin; b < blocks.end; ++b) {
    const Block block = block_of(product, packed, b);
    __m512i weight[kQuads][kVectors], bias[kVectors];
    Steps<kVectors> steps = {spots, block, rest, {}, {}, {}, pixels.begin};
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      bias[v] = _mm512_loadu_si512(block.packed + v * 64);
      steps.factor[v] = _mm512_loadu_ps(block.packed + (kVectors + v) * 64);
#pragma GCC unroll 10
      for (int q = 0; q < kQuads; ++q)
        weight[q][v] = _mm512_loadu_si512(block.packed + kVectors * 128 + (q * kVectors + v) * 64);
    }
    for (std::int64_t at = pixels.begin; at < pixels.end; at += kUnit) {
      __m512i sum[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) sum[i] = bias[i % kVectors];
#pragma GCC unroll 10
      for (int q = 0; q < kQuads; ++q) {
#pragma GCC unroll 4
        for (int m = 0; m < kUnit; ++m) {
          const __m512i bytes = broadcast(spots.x[at + m] + offset[q]);
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v) {
            __m512i& own = sum[m * kVectors + v];
            stay(own = _mm512_dpbusd_epi32(own, bytes, weight[q][v]));
          }
        }
#pragma GCC unroll 4
        for (int s = 0; s < 4; ++s)
          if (s * kQuads / 4 == q && (s < 3 || at > pixels.begin)) steps.take(s);
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) steps.y[i] = sum[i];
      steps.at = at;
    }
#pragma GCC unroll 4
    for (int s = 0; s < 4; ++s) steps.take(s);
  }
}

#define EDGEKIT_SMALL(vectors)                                                                                 \
  {small_windows<1, vectors>, small_windows<2, vectors>, small_windows<3, vectors>, small_windows<4, vectors>, \
   small_windows<5, vectors>, small_windows<6, vectors>, small_windows<7, vectors>, small_windows<8, vectors>, \
   small_windows<9, vectors>, small_windows<10, vectors>}
constexpr Tiles kSmall[2][kFewQuads] = {EDGEKIT_SMALL(1), EDGEKIT_SMALL(2)};
#undef EDGEKIT_SMALL

}  // namespace

Tiles small_tiles(const Product& product, const Finish& finish, int vectors) {
  const std::int64_t quads = product.runs() * product.quads();
  return quads > 0 && quads <= kFewQuads && !finish.wide ? kSmall[vectors - 1][quads - 1] : nullptr;
}

}  // namespace edgekit::vnni

#endif
