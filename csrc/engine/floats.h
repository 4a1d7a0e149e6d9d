// The float words: operations on float32 (some on integers and booleans too) in one portable file for all instruction
// sets. No product is fused with a sum and every sum has one order, so the bytes do not depend on threads; functions of
// single values are computed in float64 and rounded once.
#pragma once

#include <cstdint>

#include "../axes.h"
#include "../ops.h"
#include "../part.h"
#include "functions.h"
#include "grid.h"
#include "plan.h"

namespace edgekit {

struct binary_args {
  const std::uint8_t* a;
  const std::uint8_t* b;
  std::uint8_t* out;
  grid along;  // a, b, out; in elements
  plan::type element;
  plan::binary function;
};

struct compare_args {
  const std::uint8_t* a;
  const std::uint8_t* b;
  std::uint8_t* out;
  grid along;  // a, b, out; in elements
  plan::type element;
  plan::comparison function;
};

struct unary_f32_args {
  const std::uint8_t* x;
  std::uint8_t* out;
  grid_of<2> along;  // x, out; in elements
  plan::unary function;
};

struct select_args {
  const std::uint8_t* condition;
  const std::uint8_t* a;
  const std::uint8_t* b;
  std::uint8_t* out;
  grid_of<4> along;  // condition, a, b, out; in elements
  std::int64_t bytes;
};

struct cast_args {
  const std::uint8_t* x;
  std::uint8_t* out;
  grid_of<2> along;  // x, out; in elements
  plan::type from, to;
};

struct reduce_args {
  const std::uint8_t* x;
  std::uint8_t* out;  // [kept]
  axes kept, reduced;
  plan::type element;
  plan::reduction function;
};

struct matmul_f32_args {
  const float* a;     // matrices of [rows, fan_in]
  const float* b;     // matrices of [fan_in, columns]
  const float* bias;  // [columns], or null
  float* out;         // matrices of [rows, columns]
  broadcast batch;    // of whole matrices: steps count matrices
  std::int64_t rows, fan_in, columns;
};

// Depth, height, width.
struct volume {
  std::int64_t depth, height, width;

  std::int64_t count() const { return depth * height * width; }
};

struct conv_f32_args {
  const float* x;                                  // [images, groups * channels, in_size]
  const float* weight;                             // [groups * filters, channels, kernel]
  const float* bias;                               // [groups * filters], or null
  float* out;                                      // [images, groups * filters, out_size]
  std::int64_t images, groups, channels, filters;  // channels and filters of one group
  volume in_size, out_size, kernel, stride, padding, dilation;
};

struct pool_f32_args {
  const float* x;  // [images, in_size]
  float* out;      // [images, out_size]
  std::int64_t images;
  volume in_size, out_size, kernel, stride, padding, dilation;
  bool average, count_include_pad;
  std::int64_t divisor;  // 0: how many values there are
};

struct gru_f32_args {
  const float* gates[3];  // r, z, n [steps, batch, units]
  const float* h0;        // [batch, units]
  const float* weight;    // [units, 3 * units]
  const float* bias;      // [3 * units]
  float* out;             // [steps, batch, units]
  std::int64_t steps, batch, units;
  bool reverse;
};

struct lstm_f32_args {
  const float* gates[4];  // i, f, g, o [steps, batch, units]
  const float* h0;        // [batch, units]
  const float* c0;        // [batch, units]
  const float* weight;    // [units, 4 * units]
  const float* bias;      // [4 * units]
  float* out;             // [steps, batch, units]
  float* cell;            // [batch, units]
  std::int64_t steps, batch, units;
  bool reverse;
};

void binary_move(const binary_args& args, const part& part);
void compare_move(const compare_args& args, const part& part);
void unary_f32_move(const unary_f32_args& args, const part& part);
void select_move(const select_args& args, const part& part);
void cast_move(const cast_args& args, const part& part);
void reduce_move(const reduce_args& args, const part& part);
void matmul_f32_move(const matmul_f32_args& args, const part& part);
void conv_f32_move(const conv_f32_args& args, const part& part);
void pool_f32_move(const pool_f32_args& args, const part& part);
void gru_f32_move(const gru_f32_args& args, const part& part);
void lstm_f32_move(const lstm_f32_args& args, const part& part);

// Bytes of part.scratch.
std::size_t matmul_f32_scratch(const matmul_f32_args& args);
std::size_t conv_f32_scratch(const conv_f32_args& args);
std::size_t recurrent_f32_scratch(std::int64_t gates, std::int64_t units);

}  // namespace edgekit
