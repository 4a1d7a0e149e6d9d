// Walks over dense arrays dimension by dimension: some of the axes of one, or two read as one shape.
#pragma once

#include <cstdint>

#include "part.h"

namespace edgekit {

constexpr int kMaxDims = 8;

// Some dimensions of an array: sizes, and the step from one index to the next.
struct axes {
  int dims;
  std::int64_t size[kMaxDims], step[kMaxDims];
};

inline std::int64_t count_of(const axes& along) {
  std::int64_t count = 1;
  for (int d = 0; d < along.dims; ++d) count *= along.size[d];
  return count;
}

// Calls each(offset) for every index along the axes, the last one running fastest.
template <class Each>
void for_each_offset(const axes& along, Each each) {
  std::int64_t index[kMaxDims] = {}, offset = 0;
  const std::int64_t count = count_of(along);
  for (std::int64_t i = 0; i < count; ++i) {
    each(offset);
    for (int d = along.dims - 1; d >= 0; --d) {
      offset += along.step[d];
      if (++index[d] < along.size[d]) break;
      offset -= along.step[d] * along.size[d];
      index[d] = 0;
    }
  }
}

// Calls each(x, step, count, out) for this part's blocks of results that are neighbours in a dense out and `step` apart
// in what they are read from, of which `kept` are the axes; no block is longer than `most`.
template <class Each>
void for_each_block(const axes& kept, std::int64_t most, const part& part, Each each) {
  axes outer = kept;
  const bool any = outer.dims > 0;
  const std::int64_t length = any ? outer.size[outer.dims - 1] : 1, step = any ? outer.step[outer.dims - 1] : 1;
  if (any) --outer.dims;
  const std::int64_t blocks = (length + most - 1) / most;
  const range share = share_of(count_of(outer) * blocks, part);
  std::int64_t row = 0;
  for_each_offset(outer, [&](std::int64_t offset) {
    for (std::int64_t block = 0; block < blocks; ++block) {
      const std::int64_t at = row * blocks + block, first = block * most;
      if (at < share.begin || at >= share.end) continue;
      const std::int64_t left = length - first;
      each(offset + first * step, step, left < most ? left : most, row * length + first);
    }
    ++row;
  });
}

// Two arrays as torch broadcasts them, dimensions of size 1 read again and again. Row-major sizes of the result and the
// step of each operand along every dimension, 0 where it is repeated. There is at least one dimension. The last steps
// of the operands are 0 or 1, that of the result is 1.
struct broadcast {
  int dims;
  std::int64_t size[kMaxDims];
  std::int64_t step_a[kMaxDims], step_b[kMaxDims], step_out[kMaxDims];
};

// The steps of a dense result.
inline void set_dense(broadcast& shape) {
  std::int64_t step = 1;
  for (int d = shape.dims - 1; d >= 0; --d) {
    shape.step_out[d] = step;
    step *= shape.size[d];
  }
}

// Calls row(a, b, out, length, step_a, step_b) with the offsets at which each row of the last dimension begins; only
// for the rows of this part, or for a piece of the row where there is one.
template <class Row>
void for_each_row_of(const broadcast& shape, const part& part, Row row) {
  const int last = shape.dims - 1;
  std::int64_t rows = 1;
  for (int d = 0; d < last; ++d) rows *= shape.size[d];
  if (rows == 1) {
    constexpr std::int64_t kPiece = 64;  // bytes: no two parts write into one line of the cache
    const std::int64_t length = shape.size[last], pieces = (length + kPiece - 1) / kPiece;
    const range share = share_of(pieces, part);
    const std::int64_t begin = share.begin * kPiece, end = share.end == pieces ? length : share.end * kPiece;
    if (end > begin)
      row(begin * shape.step_a[last], begin * shape.step_b[last], begin, end - begin, shape.step_a[last],
          shape.step_b[last]);
    return;
  }
  const range share = share_of(rows, part);
  for (std::int64_t r = share.begin; r < share.end; ++r) {
    std::int64_t a = 0, b = 0, out = 0;
    for (std::int64_t d = last - 1, rest = r; d >= 0; rest /= shape.size[d--]) {
      const std::int64_t index = rest % shape.size[d];
      a += index * shape.step_a[d];
      b += index * shape.step_b[d];
      out += index * shape.step_out[d];
    }
    row(a, b, out, shape.size[last], shape.step_a[last], shape.step_b[last]);
  }
}

template <class Row>
void for_each_row(const broadcast& shape, Row row) {
  for_each_row_of(shape, part{0, 1, nullptr}, row);
}

}  // namespace edgekit
