// A tile of a float product: kTileColumns neighbours of every row of the result, each a sum from the first product to
// the last, one rounding for a product and one for a sum, and then the bias. So a value does not depend on the tile it
// is in, nor on the instruction set.
#pragma once

#include <cstdint>

namespace edgekit {

constexpr std::int64_t kTileColumns = 16;

struct product_tile {
  const float* a;  // element [m, k] at m * a_row + k * a_step
  std::int64_t a_row, a_step;
  const float* b;  // element [k, n] at k * b_row + n; kTileColumns of each row may be read
  std::int64_t b_row;
  float* out;  // element [m, n] at m * out_row + n
  std::int64_t out_row;
  std::int64_t rows, depth, columns;  // columns: 1 to kTileColumns are written
  const float* row_bias;              // [rows], or null
  const float* column_bias;           // [columns], or null
};

void multiply(const product_tile& tile);

}  // namespace edgekit
