// Arrays walked together, index by index: what every mover of bytes is made of.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../part.h"

namespace edgekit {

constexpr int kGridDims = 8;

// Sizes, and the steps of each array along every dimension, in the unit that its owner says. The last one runs fastest.
template <int kArrays>
struct grid_of {
  int dims;
  std::int64_t size[kGridDims];
  std::int64_t step[kArrays][kGridDims];

  std::int64_t last_step(int array) const { return dims ? step[array][dims - 1] : 1; }
};
using grid = grid_of<3>;

// Where a row of the last dimension begins in each array.
template <int kArrays>
struct row_of {
  std::int64_t offset[kArrays], length;
};
using row_at = row_of<3>;

// Calls row(row_at) for the rows of this part; where there is one row only, for a piece of it.
template <int kArrays, class Row>
void for_each_row(const grid_of<kArrays>& along, const part& part, Row row) {
  constexpr std::int64_t kPiece = 64;
  if (along.dims == 0) {
    if (part.index == 0) row(row_of<kArrays>{{}, 1});
    return;
  }
  const int last = along.dims - 1;
  std::int64_t rows = 1;
  for (int d = 0; d < last; ++d) rows *= along.size[d];
  const std::int64_t length = along.size[last];
  if (rows == 1) {
    const range share = share_of((length + kPiece - 1) / kPiece, part);
    const std::int64_t begin = share.begin * kPiece, end = std::min(share.end * kPiece, length);
    row_of<kArrays> piece = {{}, end - begin};
    for (int i = 0; i < kArrays; ++i) piece.offset[i] = begin * along.step[i][last];
    if (end > begin) row(piece);
    return;
  }
  const range share = share_of(rows, part);
  if (share.begin == share.end) return;
  row_of<kArrays> at = {{}, length};
  std::int64_t index[kGridDims] = {};
  for (std::int64_t d = last - 1, rest = share.begin; d >= 0; rest /= along.size[d--]) {
    index[d] = rest % along.size[d];
    for (int i = 0; i < kArrays; ++i) at.offset[i] += index[d] * along.step[i][d];
  }
  for (std::int64_t r = share.begin; r < share.end; ++r) {
    row(at);
    for (int d = last - 1; d >= 0; --d) {
      for (int i = 0; i < kArrays; ++i) at.offset[i] += along.step[i][d];
      if (++index[d] < along.size[d]) break;
      for (int i = 0; i < kArrays; ++i) at.offset[i] -= along.size[d] * along.step[i][d];
      index[d] = 0;
    }
  }
}

// The same walk with fewer dimensions: those of size 1 left out, the largest steps of array `by` outside, and
// neighbours joined wherever every array allows it.
template <int kArrays>
grid_of<kArrays> merged(const grid_of<kArrays>& along, int by) {
  grid_of<kArrays> sorted = {};
  for (int d = 0; d < along.dims; ++d) {
    if (along.size[d] == 1) continue;
    int at = sorted.dims++;
    for (; at > 0 && sorted.step[by][at - 1] < along.step[by][d]; --at) {
      sorted.size[at] = sorted.size[at - 1];
      for (auto& step : sorted.step) step[at] = step[at - 1];
    }
    sorted.size[at] = along.size[d];
    for (int i = 0; i < kArrays; ++i) sorted.step[i][at] = along.step[i][d];
  }
  grid_of<kArrays> result = {};
  for (int d = 0; d < sorted.dims; ++d) {
    const int before = result.dims - 1;
    bool joins = before >= 0;
    for (int i = 0; joins && i < kArrays; ++i) joins = result.step[i][before] == sorted.step[i][d] * sorted.size[d];
    const int at = joins ? before : result.dims++;
    result.size[at] = joins ? result.size[at] * sorted.size[d] : sorted.size[d];
    for (int i = 0; i < kArrays; ++i) result.step[i][at] = sorted.step[i][d];
  }
  return result;
}

}  // namespace edgekit
