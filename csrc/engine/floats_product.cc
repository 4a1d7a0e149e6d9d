// The one float product: matrices, linear layers and the recurrent parts of layers as they lie, convolutions by
// patches. Vectors of the compiler's own, so the same lines serve every processor; with AVX2 they are as wide as its
// registers.
#include "floats_product.h"

#include <algorithm>
#include <cstring>

#include "../isa.h"
#include "floats.h"

namespace edgekit {

namespace {

#define INLINE inline __attribute__((always_inline))

// Vectors in registers, and as they lie in memory, at any multiple of a float. Inside structs, since the alignment of a
// template argument of its own would be lost.
struct four {
  typedef float values __attribute__((vector_size(16)));
  typedef float stored __attribute__((vector_size(16), aligned(4), may_alias));
};
struct eight {
  typedef float values __attribute__((vector_size(32)));
  typedef float stored __attribute__((vector_size(32), aligned(4), may_alias));
};

// kRows of the tile from row m on. The sums stay in registers: nothing takes their address.
template <class Lanes, int kRows>
INLINE void multiply_rows(const product_tile& tile, std::int64_t m) {
  using values = typename Lanes::values;
  using stored = typename Lanes::stored;
  constexpr int kLanes = sizeof(values) / sizeof(float), kVectors = kTileColumns / kLanes;
  values sum[kRows][kVectors] = {};
  const float *a = tile.a + m * tile.a_row, *b = tile.b;
  for (std::int64_t k = 0; k < tile.depth; ++k, a += tile.a_step, b += tile.b_row) {
    values line[kVectors];
    for (int v = 0; v < kVectors; ++v) line[v] = *reinterpret_cast<const stored*>(b + v * kLanes);
    for (int i = 0; i < kRows; ++i) {
      const float value = a[i * tile.a_row];
      for (int v = 0; v < kVectors; ++v) sum[i][v] += value * line[v];
    }
  }
  for (int i = 0; i < kRows; ++i) {
    float line[kTileColumns];
    for (int v = 0; v < kVectors; ++v) *reinterpret_cast<stored*>(line + v * kLanes) = sum[i][v];
    float* out = tile.out + (m + i) * tile.out_row;
    for (std::int64_t n = 0; tile.row_bias && n < kTileColumns; ++n) line[n] += tile.row_bias[m + i];
    for (std::int64_t n = 0; tile.column_bias && n < tile.columns; ++n) line[n] += tile.column_bias[n];
    for (std::int64_t n = 0; n < tile.columns; ++n) out[n] = line[n];
  }
}

template <class Lanes, int kRows>
INLINE void multiply_all(const product_tile& tile) {
  std::int64_t m = 0;
  for (; m + kRows <= tile.rows; m += kRows) multiply_rows<Lanes, kRows>(tile, m);
  for (; m + 2 <= tile.rows; m += 2) multiply_rows<Lanes, 2>(tile, m);
  for (; m < tile.rows; ++m) multiply_rows<Lanes, 1>(tile, m);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) void multiply_avx2(const product_tile& tile) {
  multiply_all<eight, 6>(tile);
}
void multiply_plain(const product_tile& tile) {
  multiply_all<four, 2>(tile);  // sixteen registers
}
#else
void multiply_plain(const product_tile& tile) {
  multiply_all<four, 6>(tile);
}
#endif

// kTileColumns of b side by side, those behind its last column 0.
void pack(const float* b, std::int64_t b_row, std::int64_t depth, std::int64_t columns, float* to) {
  for (std::int64_t k = 0; k < depth; ++k, to += kTileColumns) {
    std::memcpy(to, b + k * b_row, static_cast<std::size_t>(columns) * sizeof(float));
    std::fill(to + columns, to + kTileColumns, 0.0f);
  }
}

constexpr std::int64_t kRowBlock = 96;      // rows of one piece of work
constexpr std::int64_t kRowsWorthPack = 8;  // rows that are worth bringing b together

std::int64_t pieces(std::int64_t count, std::int64_t each) {
  return (count + each - 1) / each;
}

}  // namespace

void multiply(const product_tile& tile) {
#if defined(__x86_64__)
  if (isa_flags() & bit(Isa::avx2)) return multiply_avx2(tile);
#endif
  multiply_plain(tile);
}

std::size_t matmul_f32_scratch(const matmul_f32_args& args) {
  return static_cast<std::size_t>(args.fan_in * kTileColumns) * sizeof(float);
}

void matmul_f32_move(const matmul_f32_args& args, const part& part) {
  const broadcast& batch = args.batch;
  const std::int64_t blocks = pieces(args.rows, kRowBlock), tiles = pieces(args.columns, kTileColumns);
  std::int64_t matrices = 1;
  for (int d = 0; d < batch.dims; ++d) matrices *= batch.size[d];
  const range share = share_of(matrices * blocks * tiles, part);
  auto* packed = static_cast<float*>(part.scratch);
  for (std::int64_t i = share.begin; i < share.end; ++i) {
    const std::int64_t tile = i % tiles, block = i / tiles % blocks;
    std::int64_t at_a = 0, at_b = 0, at_out = 0;
    for (std::int64_t d = batch.dims - 1, rest = i / tiles / blocks; d >= 0; rest /= batch.size[d--]) {
      at_a += rest % batch.size[d] * batch.step_a[d];
      at_b += rest % batch.size[d] * batch.step_b[d];
      at_out += rest % batch.size[d] * batch.step_out[d];
    }
    const std::int64_t row = block * kRowBlock, column = tile * kTileColumns;
    product_tile own = {};
    own.rows = std::min(kRowBlock, args.rows - row);
    own.columns = std::min(kTileColumns, args.columns - column);
    own.depth = args.fan_in;
    own.a = args.a + at_a * args.rows * args.fan_in + row * args.fan_in;
    own.a_row = args.fan_in;
    own.a_step = 1;
    own.b = args.b + at_b * args.fan_in * args.columns + column;
    own.b_row = args.columns;
    own.out = args.out + at_out * args.rows * args.columns + row * args.columns + column;
    own.out_row = args.columns;
    own.column_bias = args.bias ? args.bias + column : nullptr;
    if (own.columns < kTileColumns || own.rows >= kRowsWorthPack) {
      pack(own.b, own.b_row, own.depth, own.columns, packed);
      own.b = packed;
      own.b_row = kTileColumns;
    }
    multiply(own);
  }
}

}  // namespace edgekit
