// Operations value by value, a block of neighbours at a time: the walk through memory is one for all, and a function is
// a loop over dense blocks.
#pragma once

#include <algorithm>
#include <cstring>

#include "grid.h"

namespace edgekit {

constexpr std::int64_t kBlock = 256;

// in[i] and out are blocks of `count` values, dense; out is none of the others.
using block_function = void (*)(const void* const* in, std::int64_t count, void* out);

void gather_block(const std::uint8_t* from, std::int64_t step, std::int64_t bytes, std::int64_t count, void* to);
void scatter_block(const void* from, std::int64_t step, std::int64_t bytes, std::int64_t count, std::uint8_t* to);

// Runs a function over the part of a walk in elements; `bytes` are those of an element of each array, out the last.
template <int kInputs>
void in_blocks(const grid_of<kInputs + 1>& along, const part& part, const std::uint8_t* const (&data)[kInputs],
               const std::int64_t (&bytes)[kInputs + 1], std::uint8_t* out, block_function run) {
  for_each_row(along, part, [&](const row_of<kInputs + 1>& at) {
    alignas(64) std::uint8_t blocks[kInputs + 1][kBlock * 8];
    for (std::int64_t first = 0; first < at.length; first += kBlock) {
      const std::int64_t count = std::min(kBlock, at.length - first);
      const void* in[kInputs];
      for (int i = 0; i < kInputs; ++i) {
        const std::int64_t step = along.last_step(i);
        const std::uint8_t* from = data[i] + (at.offset[i] + first * step) * bytes[i];
        if (step != 1) gather_block(from, step, bytes[i], count, blocks[i]);
        in[i] = step == 1 ? static_cast<const void*>(from) : blocks[i];
      }
      run(in, count, blocks[kInputs]);
      const std::int64_t step = along.last_step(kInputs);
      scatter_block(blocks[kInputs], step, bytes[kInputs], count,
                    out + (at.offset[kInputs] + first * step) * bytes[kInputs]);
    }
  });
}

}  // namespace edgekit
