// Windows over lines, images and volumes: convolutions, as products of the weight and patches, and pools.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "../window.h"
#include "floats.h"
#include "floats_product.h"

namespace edgekit {

namespace {

// Where the windows of an output begin, in three dimensions.
struct corner {
  std::int64_t depth, height, width;
};

template <class Args>
corner corner_of(const Args& args, std::int64_t index) {
  const volume& size = args.out_size;
  const std::int64_t column = index % size.width, row = index / size.width % size.height,
                     layer = index / size.width / size.height;
  return {layer * args.stride.depth - args.padding.depth, row * args.stride.height - args.padding.height,
          column * args.stride.width - args.padding.width};
}

// For every tap of the kernel and every output of a tile the place that is read, -1 for one in the padding; then, for
// every tap, whether those places are neighbours.
void places_of(const conv_f32_args& args, std::int64_t first, std::int64_t columns, std::int32_t* places) {
  const volume &in = args.in_size, &kernel = args.kernel;
  for (std::int64_t n = 0; n < kTileColumns; ++n) {
    const corner begin = corner_of(args, first + std::min(n, columns - 1));
    std::int32_t* to = places + n;
    for (std::int64_t z = 0; z < kernel.depth; ++z)
      for (std::int64_t y = 0; y < kernel.height; ++y)
        for (std::int64_t x = 0; x < kernel.width; ++x, to += kTileColumns) {
          const std::int64_t layer = begin.depth + z * args.dilation.depth,
                             row = begin.height + y * args.dilation.height,
                             column = begin.width + x * args.dilation.width;
          const bool inside =
              layer >= 0 && layer < in.depth && row >= 0 && row < in.height && column >= 0 && column < in.width;
          *to = inside ? static_cast<std::int32_t>((layer * in.height + row) * in.width + column) : -1;
        }
  }
  const std::int64_t taps = kernel.count();
  for (std::int64_t tap = 0; tap < taps; ++tap) {
    const std::int32_t* place = places + tap * kTileColumns;
    bool dense = place[0] >= 0;
    for (std::int64_t n = 1; n < kTileColumns; ++n) dense = dense && place[n] == place[0] + n;
    places[taps * kTileColumns + tap] = dense;
  }
}

// The patches of a tile: for every channel and tap one value of each output.
void patches_of(const conv_f32_args& args, const float* x, const std::int32_t* places, float* to) {
  const std::int64_t taps = args.kernel.count(), area = args.in_size.count();
  for (std::int64_t channel = 0; channel < args.channels; ++channel, x += area) {
    const std::int32_t* place = places;
    for (std::int64_t tap = 0; tap < taps; ++tap, place += kTileColumns, to += kTileColumns) {
      if (places[taps * kTileColumns + tap]) {
        std::memcpy(to, x + place[0], kTileColumns * sizeof(float));
      } else {
        for (std::int64_t n = 0; n < kTileColumns; ++n) to[n] = place[n] < 0 ? 0.0f : x[place[n]];
      }
    }
  }
}

// One value for one output: what lies in memory are the patches.
bool is_pointwise(const conv_f32_args& args) {
  const volume &stride = args.stride, &pad = args.padding;
  return args.kernel.count() == 1 && stride.count() == 1 && (pad.depth | pad.height | pad.width) == 0;
}

struct pooled {
  double sum;
  float most;
  std::int64_t taps;
};

// What lies in a window; rows and columns that are inside the input.
pooled look(const pool_f32_args& args, const float* x, const corner& begin) {
  const taps layers(begin.depth, args.kernel.depth, args.dilation.depth, args.in_size.depth),
      rows(begin.height, args.kernel.height, args.dilation.height, args.in_size.height),
      columns(begin.width, args.kernel.width, args.dilation.width, args.in_size.width);
  pooled found = {0, -HUGE_VALF, 0};
  for (std::int64_t z = layers.begin; z < layers.end; ++z)
    for (std::int64_t y = rows.begin; y < rows.end; ++y) {
      const std::int64_t layer = begin.depth + z * args.dilation.depth, row = begin.height + y * args.dilation.height;
      const float* line = x + (layer * args.in_size.height + row) * args.in_size.width + begin.width;
      for (std::int64_t i = columns.begin; i < columns.end; ++i) {
        const float value = line[i * args.dilation.width];
        found.sum += value;
        found.most = value > found.most || value != value ? value : found.most;
      }
    }
  found.taps = (layers.end - layers.begin) * (rows.end - rows.begin) * (columns.end - columns.begin);
  return found;
}

std::int64_t divisor_of(const pool_f32_args& args, const corner& begin, std::int64_t inside) {
  if (args.divisor) return args.divisor;
  if (!args.count_include_pad) return std::max<std::int64_t>(inside, 1);
  return counted(begin.depth, args.kernel.depth, args.padding.depth, args.in_size.depth, true) *
         counted(begin.height, args.kernel.height, args.padding.height, args.in_size.height, true) *
         counted(begin.width, args.kernel.width, args.padding.width, args.in_size.width, true);
}

}  // namespace

std::size_t conv_f32_scratch(const conv_f32_args& args) {
  const std::int64_t taps = args.kernel.count();
  return static_cast<std::size_t>((args.channels + 1) * taps * kTileColumns + taps) * sizeof(float);
}

void conv_f32_move(const conv_f32_args& args, const part& part) {
  const std::int64_t area = args.in_size.count(), outputs = args.out_size.count(), taps = args.kernel.count();
  const std::int64_t depth = args.channels * taps, tiles = (outputs + kTileColumns - 1) / kTileColumns;
  const std::int64_t sets = args.images * args.groups;
  const range share = share_of(sets * tiles, part);
  auto* patches = static_cast<float*>(part.scratch);
  auto* places = reinterpret_cast<std::int32_t*>(patches + depth * kTileColumns);
  const bool pointwise = is_pointwise(args);
  std::int64_t placed = -1;  // the tile whose places are known: all channels have the same
  for (std::int64_t i = share.begin; i < share.end; ++i) {
    const std::int64_t first = i / sets * kTileColumns, set = i % sets, group = set % args.groups;
    const float* x = args.x + set * args.channels * area;
    product_tile own = {};
    own.a = args.weight + group * args.filters * depth;
    own.a_row = depth;
    own.a_step = 1;
    own.rows = args.filters;
    own.depth = depth;
    own.columns = std::min(kTileColumns, outputs - first);
    own.out = args.out + set * args.filters * outputs + first;
    own.out_row = outputs;
    own.row_bias = args.bias ? args.bias + group * args.filters : nullptr;
    own.b = patches;
    own.b_row = kTileColumns;
    if (pointwise && own.columns == kTileColumns) {
      own.b = x + first;
      own.b_row = area;
    } else {
      if (placed != first) places_of(args, first, own.columns, places);
      placed = first;
      patches_of(args, x, places, patches);
    }
    multiply(own);
  }
}

void pool_f32_move(const pool_f32_args& args, const part& part) {
  const std::int64_t outputs = args.out_size.count();
  const range share = share_of(args.images * outputs, part);
  for (std::int64_t i = share.begin; i < share.end; ++i) {
    const corner begin = corner_of(args, i % outputs);
    const pooled found = look(args, args.x + i / outputs * args.in_size.count(), begin);
    args.out[i] = args.average
                      ? static_cast<float>(found.sum / static_cast<double>(divisor_of(args, begin, found.taps)))
                      : found.most;
  }
}

}  // namespace edgekit
