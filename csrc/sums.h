// A float sum in the one order that every tier has, in float64: the twin of edgekit/ops/sums.py, which says what it is.
#pragma once

#include <cstdint>
#include <cstring>

namespace edgekit {

constexpr std::int64_t kSumLanes = 256, kSumChunk = 4096;

// Lanes [0, kSumLanes) are folded in half until one is left. They hold 0 afterwards.
__attribute__((always_inline)) inline double fold(double* lanes) {
  for (std::int64_t width = kSumLanes / 2; width; width /= 2)
    for (std::int64_t i = 0; i < width; ++i) lanes[i] += lanes[width + i];
  const double sum = lanes[0];
  std::memset(lanes, 0, kSumLanes * sizeof *lanes);
  return sum;
}

struct ordered_sum {
  alignas(64) double lanes[kSumLanes] = {};
  alignas(64) double chunks[kSumLanes] = {};
  std::int64_t count = 0, chunk = 0;

  // Adds term(0), term(1), ... term(size - 1).
  template <class Term>
  __attribute__((always_inline)) void add(std::int64_t size, Term term) {
    for (std::int64_t at = 0; at < size;) {
      const std::int64_t first = count % kSumLanes, room = kSumLanes - first;
      const std::int64_t taken = size - at < room ? size - at : room;
      double* to = lanes + first;
      for (std::int64_t i = 0; i < taken; ++i) to[i] += term(at + i);
      at += taken;
      count += taken;
      if (count % kSumChunk == 0) close();
    }
  }

  // The sum of all; the next begins at 0.
  __attribute__((always_inline)) double total() {
    if (count % kSumChunk) close();
    count = chunk = 0;
    return fold(chunks);
  }

 private:
  __attribute__((always_inline)) void close() { chunks[chunk++ % kSumLanes] += fold(lanes); }
};

}  // namespace edgekit
