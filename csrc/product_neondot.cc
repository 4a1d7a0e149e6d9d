// Tiles of up to 5 pixels x 16 features: 20 sums, four vectors of weights and five of x fill 29 of the 32 registers.
// sdot multiplies four signed bytes of each lane by four of one lane of x, so bytes are used as they are.
//
// Exact: a sum of K <= 131,071 products fits int32, with its bias by the room that edgekit leaves; else it wraps, as
// the reference's.
#include "product_neondot.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#include <algorithm>

#include "product_pack.h"
#include "residual.h"

#define EDGEKIT_NEON_TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#define EDGEKIT_NEON EDGEKIT_NEON_TARGET __attribute__((always_inline)) inline

namespace edgekit::neon {

namespace {

constexpr int kRows = 5, kVectors = 4, kBlock = 16;
constexpr Packing kPacking = {kBlock, kBlock, false};

using Pointers = const std::uint8_t* const*;

// Quad number kLane of sixteen bytes of each pixel.
template <int kLane, int kPixels>
EDGEKIT_NEON void add_quad(int32x4_t (&sum)[kPixels][kVectors], const int8x16_t (&x)[kPixels],
                           const std::uint8_t* weight) {
  int8x16_t w[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v)
    w[v] = vld1q_s8(reinterpret_cast<const std::int8_t*>(weight) + (kLane * kVectors + v) * 16);
#pragma GCC unroll 5
  for (int m = 0; m < kPixels; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[m][v] = vdotq_laneq_s32(sum[m][v], w[v], x[m], kLane);
}

template <int kPixels>
EDGEKIT_NEON const std::uint8_t* add_run(int32x4_t (&sum)[kPixels][kVectors], Pointers pixels, std::int64_t offset,
                                         std::int64_t quads, const std::uint8_t* weight) {
  std::int64_t quad = 0;
  for (; quad + 4 <= quads; quad += 4, weight += 4 * kVectors * 16) {
    int8x16_t x[kPixels];
#pragma GCC unroll 5
    for (int m = 0; m < kPixels; ++m)
      x[m] = vld1q_s8(reinterpret_cast<const std::int8_t*>(pixels[m]) + offset + quad * 4);
    add_quad<0>(sum, x, weight);
    add_quad<1>(sum, x, weight);
    add_quad<2>(sum, x, weight);
    add_quad<3>(sum, x, weight);
  }
  for (; quad < quads; ++quad, weight += kVectors * 16) {
    int8x16_t x[kPixels];
#pragma GCC unroll 5
    for (int m = 0; m < kPixels; ++m) {
      std::int32_t bytes;
      __builtin_memcpy(&bytes, pixels[m] + offset + quad * 4, 4);
      x[m] = vreinterpretq_s8_s32(vdupq_n_s32(bytes));
    }
    add_quad<0>(sum, x, weight);
  }
  return weight;
}

// rne(float32(sum) * multiplier) within the bounds.
EDGEKIT_NEON int32x4_t scale(int32x4_t sum, float32x4_t multiplier, const bounds& limit) {
  const float32x4_t value = vmulq_f32(vcvtq_f32_s32(sum), multiplier);
  return vcvtnq_s32_f32(vminq_f32(vmaxq_f32(value, vdupq_n_f32(static_cast<float>(limit.lo))),
                                  vdupq_n_f32(static_cast<float>(limit.hi))));
}

EDGEKIT_NEON void put(std::uint8_t* out, int8x16_t bytes, int count) {
  auto* to = reinterpret_cast<std::int8_t*>(out);
  if (count == kBlock) {
    vst1q_s8(to, bytes);
    return;
  }
  std::int8_t all[kBlock];
  vst1q_s8(all, bytes);
  std::copy_n(all, count, to);
}

EDGEKIT_NEON void finish_pixel(const int32x4_t (&sum)[kVectors], const float* multiplier, std::uint8_t* out,
                               const std::uint8_t* other, const bounds& limit, const residual& added, int count) {
  int32x4_t y[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) y[v] = scale(sum[v], vld1q_f32(multiplier + v * 4), limit);
  const int8x16_t bytes = vcombine_s8(vqmovn_s16(vcombine_s16(vqmovn_s32(y[0]), vqmovn_s32(y[1]))),
                                      vqmovn_s16(vcombine_s16(vqmovn_s32(y[2]), vqmovn_s32(y[3]))));
  put(out, bytes, count);
  if (!other) return;
  for (int o = 0; o < count; ++o) {
    const auto own = static_cast<std::int8_t>(out[o]);
    residual one = added;
    one.x = reinterpret_cast<const std::int8_t*>(other);
    out[o] = static_cast<std::uint8_t>(plus(own, one, o));
  }
}

template <int kPixels>
EDGEKIT_NEON_TARGET void tile(const Product& product, const std::uint8_t* block, Pointers x, std::uint8_t* const* out,
                              Pointers others, const bounds& limit, const residual& added, int count) {
  int32x4_t sum[kPixels][kVectors];
#pragma GCC unroll 5
  for (int m = 0; m < kPixels; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[m][v] = vld1q_s32(reinterpret_cast<const std::int32_t*>(block) + v * 4);
  const std::uint8_t* weight = block + kBlock * 8;
  for (std::int64_t row = 0; row < product.run_rows; ++row)
    for (std::int64_t column = 0; column < product.run_columns; ++column)
      weight = add_run(sum, x, row * product.run_row + column * product.run_column, product.quads(), weight);
  const auto* multiplier = reinterpret_cast<const float*>(block + kBlock * 4);
#pragma GCC unroll 5
  for (int m = 0; m < kPixels; ++m)
    finish_pixel(sum[m], multiplier, out[m], added.x ? others[m] : nullptr, limit, added, count);
}

using Tile = void (*)(const Product&, const std::uint8_t*, Pointers, std::uint8_t* const*, Pointers, const bounds&,
                      const residual&, int);
constexpr Tile kTiles[kRows] = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>};

}  // namespace

std::size_t packed_bytes(const Product& product) {
  return edgekit::packed_bytes(product, kPacking);
}

void pack_weights(const Product& product, const Filters& filters, void* to) {
  edgekit::pack_weights(product, filters, kPacking, to);
}

void multiply(const Product& product, const void* packed, const bounds& limit, const residual& added,
              const part& part) {
  const std::int64_t pixels = product.pixels(), blocks = blocks_of(product, kPacking);
  const std::int64_t tiles = (pixels + kRows - 1) / kRows;
  const range mine = tiles >= blocks ? share_of(tiles, part) : range{0, tiles};
  const range own = tiles >= blocks ? range{0, blocks} : share_of(blocks, part);
  for (std::int64_t t = mine.begin; t < mine.end; ++t) {
    const std::int64_t begin = pixels * t / tiles;
    const int height = static_cast<int>(pixels * (t + 1) / tiles - begin);
    const std::uint8_t *x[kRows], *others[kRows];
    std::uint8_t* out[kRows];
    Cursor cursor(product, begin);
    for (int m = 0; m < height; ++m, cursor.next()) {
      x[m] = cursor.x;
      out[m] = cursor.out + own.begin * kBlock;
      others[m] = added.x ? cursor.added + own.begin * kBlock : nullptr;
    }
    for (std::int64_t block = own.begin; block < own.end; ++block) {
      const int count = static_cast<int>(std::min<std::int64_t>(product.features - block * kBlock, kBlock));
      kTiles[height - 1](product, block_at(product, kPacking, packed, block), x, out, others, limit, added, count);
      for (int m = 0; m < height; ++m) out[m] += kBlock;
      if (added.x)
        for (int m = 0; m < height; ++m) others[m] += kBlock;
    }
  }
}

}  // namespace edgekit::neon

#endif
