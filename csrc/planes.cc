#include "planes.h"

#include <algorithm>
#include <cstring>

namespace edgekit::planes {

namespace {

// Rows of pixels along the last dimension of x. The dimension whose indices are neighbours in out holds the planes of a
// pixel; where there is none, or it is the last one itself, a pixel is one value.
struct layout {
  axes rows;                   // all other dimensions, with their steps in out
  std::int64_t length, step;   // pixels of a row, and from one to the next in out
  std::int64_t planes, inner;  // values of a pixel, and rows of one plane that follow each other in x
  std::int64_t x_plane() const { return inner * length; }
};

layout layout_of(const axes& along) {
  const int last = along.dims - 1;
  layout result = {{}, along.size[last], along.step[last], 1, 1};
  axes& rows = result.rows;
  bool found = result.step == 1;
  for (int d = 0; d < last; ++d) {
    if (!found && along.step[d] == 1) {
      found = true;
      result.planes = along.size[d];
      result.inner = 1;
      continue;
    }
    rows.size[rows.dims] = along.size[d];
    rows.step[rows.dims++] = along.step[d];
    result.inner *= along.size[d];
  }
  return result;
}

std::int64_t row_in_x(const layout& way, std::int64_t row) {
  return (row + row / way.inner * (way.planes - 1) * way.inner) * way.length;
}

std::int64_t row_in_out(const layout& way, std::int64_t row) {
  std::int64_t offset = 0;
  for (int d = way.rows.dims - 1; d > 0; row /= way.rows.size[d--]) offset += row % way.rows.size[d] * way.rows.step[d];
  return offset + row * way.rows.step[0];
}

// As many planes at once as a word has bytes. Where fewer are left, the last ones are written again, never more.
template <int kBytes>
void scatter(const quantize_s8_args& args, const layout& way, const float* x, std::int64_t count, std::int8_t* out,
             const tier& by) {
  std::int8_t values[kBytes][kPiece];
  std::uint32_t words[kPiece];  // little-endian
  for (std::int64_t plane = 0; plane < way.planes; plane += kBytes) {
    const std::int64_t first = std::min(plane, way.planes - kBytes);
    for (int b = 0; b < kBytes; ++b) by.line(args, x + (first + b) * way.x_plane(), count, values[b]);
    for (std::int64_t i = 0; i < count; ++i) {
      std::uint32_t word = 0;
      for (int b = 0; b < kBytes; ++b) word |= std::uint32_t{static_cast<std::uint8_t>(values[b][i])} << 8 * b;
      words[i] = word;
    }
    for (std::int64_t i = 0; i < count; ++i) std::memcpy(out + i * way.step + first, &words[i], kBytes);
  }
}

void piece(const quantize_s8_args& args, const layout& way, const float* x, std::int64_t count, std::int8_t* out,
           const tier& by) {
  if (way.planes == 3 && way.step == 3) {
    std::int8_t values[3 * kPiece];
    for (std::int64_t p = 0; p < 3; ++p) by.line(args, x + p * way.x_plane(), count, values + p * kPiece);
    by.weave(values, count, out);
  } else if (way.planes >= 4) {
    scatter<4>(args, way, x, count, out, by);
  } else if (way.planes >= 2) {
    scatter<2>(args, way, x, count, out, by);
  } else {
    scatter<1>(args, way, x, count, out, by);
  }
}

}  // namespace

void quantize(const quantize_s8_args& args, const part& part, const tier& by) {
  constexpr std::int64_t kLine = 64;  // pixels: in one dense row no two parts write into one line of the cache
  const layout way = layout_of(args.along);
  const std::int64_t lines = (way.length + kLine - 1) / kLine;
  const range share = share_of(count_of(way.rows) * lines, part);
  for (std::int64_t at = share.begin; at < share.end; at += lines - at % lines) {
    const std::int64_t row = at / lines;
    const std::int64_t begin = at % lines * kLine, end = std::min(way.length, (share.end - row * lines) * kLine);
    const float* x = args.x + row_in_x(way, row);
    std::int8_t* out = args.out + row_in_out(way, row);
    if (way.step == 1) {
      by.line(args, x + begin, end - begin, out + begin);
      continue;
    }
    for (std::int64_t first = begin; first < end; first += kPiece)
      piece(args, way, x + first, std::min(kPiece, end - first), out + first * way.step, by);
  }
}

}  // namespace edgekit::planes
