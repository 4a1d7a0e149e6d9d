// Operations that move or choose bytes: one portable file for all instruction sets. Bytes of int8 activations may hold
// q ^ 0x80; `flip` is what turns those of x into those of out, unless a struct says otherwise.
#pragma once

#include <atomic>
#include <cstdint>

#include "../ops.h"
#include "../part.h"
#include "grid.h"

namespace edgekit {

struct copy_args {
  const std::uint8_t* x;
  std::uint8_t* out;
  grid along;          // x, out; steps in bytes
  std::int64_t bytes;  // of an element: 1, 2, 4 or 8
  std::uint8_t flip;
};

struct fill_args {
  std::uint8_t* out;
  grid along;  // out; steps in bytes
  std::int64_t bytes;
  std::uint8_t value, flip;
};

// Zeros around images; steps in bytes, x at the corner of the padding.
struct halo_args {
  std::uint8_t* x;
  steps step;
  std::int64_t images, channels;
  extent size;  // with padding
  std::int64_t top, left, bottom, right;
  std::uint8_t flip;
};

struct gather_args {
  const std::uint8_t* x;
  const std::int32_t* index;  // -1 for `value`
  std::uint8_t* out;
  grid along;  // index in elements, out in bytes
  std::int64_t bytes;
  std::uint8_t value, flip, value_flip;
};

struct take_args {
  const std::uint8_t* x;  // [rows, row_bytes]
  const void* index;      // [count], s64 where wide, else s32
  std::uint8_t* out;      // [count, row_bytes]
  std::int64_t rows, row_bytes, count;
  bool wide;
  std::uint8_t flip;
  std::atomic<std::uint32_t>* failed;  // set where an index is outside
};

// `flip` is of x and out alike.
struct extremum_args {
  const std::int8_t* x;
  std::int8_t* out;  // [kept]
  axes kept, reduced;
  bool least;
  std::uint8_t flip;
};

// `flip` is of a, b and out alike.
struct choose_args {
  const std::int8_t* a;
  const std::int8_t* b;
  std::int8_t* out;
  grid along;  // a, b, out
  bool least;
  std::uint8_t flip;
};

struct dequantize_move_args {
  const std::int8_t* x;
  float* out;
  grid along;  // x, out
  float scale;
  std::uint8_t flip;
};

// `flip` is of x and out alike.
struct lut_move_args {
  const std::int8_t* x;
  const std::int8_t* table;
  std::int8_t* out;
  grid along;  // x, out, table
  std::uint8_t flip;
};

void copy_move(const copy_args& args, const part& part);
void fill_move(const fill_args& args, const part& part);
void halo_move(const halo_args& args, const part& part);
void gather_move(const gather_args& args, const part& part);
void take_move(const take_args& args, const part& part);
void extremum_move(const extremum_args& args, const part& part);
void choose_move(const choose_args& args, const part& part);
void dequantize_move(const dequantize_move_args& args, const part& part);
void lut_move(const lut_move_args& args, const part& part);

}  // namespace edgekit
