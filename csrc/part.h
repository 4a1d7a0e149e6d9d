// How threads share one call of a kernel, and where each may scribble.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edgekit {

// Part `index` of `count`, and memory of this part alone: as much as the kernel asked for, aligned to 64 bytes.
struct part {
  unsigned index, count;
  void* scratch;
};

// Bytes of scratch up to where the next piece of it begins.
inline std::size_t line_of(std::size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

// The share of `items` that belongs to a part: [begin, end), the same on every run.
struct range {
  std::int64_t begin, end;
};

inline range share_of(std::int64_t items, const part& part) {
  if (part.count == 1) return {0, items};  // two divisions are a good part of a small layer
  return {items * part.index / part.count, items * (part.index + 1) / part.count};
}

}  // namespace edgekit
