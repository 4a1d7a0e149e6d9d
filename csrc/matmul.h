// Products of two activations for the tiers whose dense product wants packed weights: each matrix b is packed when its
// turn comes, like the weights of a linear layer whose rows are those of a.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "ops.h"
#include "part.h"
#include "product.h"

namespace edgekit {

inline Product product_of(const matmul_s8_args& args, const std::int8_t* a, std::int8_t* out, std::int64_t rows) {
  return product_of(linear_s8_args{
      a, nullptr, nullptr, nullptr, out, rows, args.fan_in, args.columns, args.limit, {}, args.flip, nullptr});
}

// A bias of 0 and the multiplier for each column, the packed matrix, and what the product itself needs.
inline std::size_t matmul_scratch(const matmul_s8_args& args, const DenseProduct& dense) {
  const Product product = product_of(args, nullptr, nullptr, args.rows);
  return line_of(static_cast<std::size_t>(args.columns) * 8) + line_of(dense.packed_bytes(product)) +
         dense.scratch_bytes(product);
}

// Each part has neighbouring rows of all matrices, and packs no matrix of which it has none.
inline void matmul(const matmul_s8_args& args, const part& own, const DenseProduct& dense) {
  std::int64_t matrices = 1;
  for (int d = 0; d < args.batch.dims; ++d) matrices *= args.batch.size[d];
  const range share = share_of(matrices * args.rows, own);
  if (share.begin == share.end || args.columns == 0) return;
  auto* bias = static_cast<std::int32_t*>(own.scratch);
  auto* multiplier = reinterpret_cast<float*>(bias + args.columns);
  std::fill_n(bias, args.columns, 0);
  std::fill_n(multiplier, args.columns, args.multiplier);
  auto* packed = static_cast<std::uint8_t*>(own.scratch) + line_of(static_cast<std::size_t>(args.columns) * 8);
  std::int64_t at = 0;
  const std::int8_t* last = nullptr;
  for_each_row(args.batch, [&](std::int64_t a, std::int64_t b, std::int64_t out, std::int64_t length,
                               std::int64_t step_a, std::int64_t step_b) {
    for (std::int64_t i = 0; i < length; ++i, ++at) {
      const range rows = {std::max<std::int64_t>(share.begin - at * args.rows, 0),
                          std::min(share.end - at * args.rows, args.rows)};
      if (rows.begin >= rows.end) continue;
      const Product product =
          product_of(args, args.a + ((a + i * step_a) * args.rows + rows.begin) * args.fan_in,
                     args.out + ((out + i) * args.rows + rows.begin) * args.columns, rows.end - rows.begin);
      const std::int8_t* matrix = args.b + (b + i * step_b) * args.fan_in * args.columns;
      if (matrix != last)
        dense.pack_weights(product, {matrix, {1, args.columns, 0, 0}, args.fan_in, 1, bias, multiplier, args.flip},
                           packed);
      last = matrix;
      dense.multiply(product, packed, args.limit, {}, part{0, 1, packed + line_of(dense.packed_bytes(product))});
    }
  });
}

}  // namespace edgekit
