// The arguments of every operator: one plain struct each, named <op>_args. All arrays are dense and in C order; the
// caller owns them and has checked every size (bind.cc does), so a kernel checks nothing. Meanings:
// edgekit/ops/<op>.py.
#pragma once

#include <cstdint>

#include "axes.h"

namespace edgekit {

// A window slides along height and width: fields of the two axes side by side.
struct extent {
  std::int64_t height, width;
};

struct bounds {
  int lo, hi;
};

// x is seen as [outer, channels, inner] with one scale for each channel; per tensor, outer = channels = 1.
struct quantize_s8_args {
  static constexpr const char* op = "quantize_s8";
  const float* x;
  const float* scale;
  std::int8_t* out;
  std::int64_t outer, channels, inner;
  bounds limit;
};

// Exactly one of x_s8 and x_s32 is set.
struct dequantize_args {
  static constexpr const char* op = "dequantize";
  const std::int8_t* x_s8;
  const std::int32_t* x_s32;
  const float* scale;
  float* out;
  std::int64_t outer, channels, inner;
};

struct fake_quantize_args {
  static constexpr const char* op = "fake_quantize";
  const float* x;
  const float* scale;
  float* out;
  std::int64_t outer, channels, inner;
  bounds limit;
};

struct linear_s8_args {
  static constexpr const char* op = "linear_s8";
  const std::int8_t* x;       // [rows, fan_in]
  const std::int8_t* weight;  // [features, fan_in]
  const std::int32_t* bias;   // [features]
  const float* multiplier;    // [features]
  std::int8_t* out;           // [rows, features]
  std::int64_t rows, fan_in, features;
  bounds limit;
};

struct conv2d_s8_args {
  static constexpr const char* op = "conv2d_s8";
  const std::int8_t* x;       // [images, in_channels, in_size]
  const std::int8_t* weight;  // [out_channels, in_channels / groups, kernel]
  const std::int32_t* bias;   // [out_channels]
  const float* multiplier;    // [out_channels]
  std::int8_t* out;           // [images, out_channels, out_size]
  std::int64_t images, in_channels, out_channels, groups;
  extent in_size, out_size, kernel, stride, padding, dilation;
  bounds limit;
};

struct add_s8_args {
  static constexpr const char* op = "add_s8";
  const std::int8_t* a;
  const std::int8_t* b;
  std::int8_t* out;
  broadcast shape;
  float ratio_a, ratio_b;
  bounds limit;
};

struct mul_s8_args {
  static constexpr const char* op = "mul_s8";
  const std::int8_t* a;
  const std::int8_t* b;
  std::int8_t* out;
  broadcast shape;
  float multiplier;
  bounds limit;
};

struct matmul_s8_args {
  static constexpr const char* op = "matmul_s8";
  const std::int8_t* a;  // matrices of [rows, fan_in]
  const std::int8_t* b;  // matrices of [fan_in, columns]
  std::int8_t* out;      // matrices of [rows, columns]
  broadcast batch;       // of whole matrices: steps count matrices
  std::int64_t rows, fan_in, columns;
  float multiplier;
  bounds limit;
};

struct sum_s8_args {
  static constexpr const char* op = "sum_s8";
  const std::int8_t* x;
  std::int8_t* out;    // [kept]
  axes kept, reduced;  // of x, each in order
  float multiplier;
  bounds limit;
};

struct lut_s8_args {
  static constexpr const char* op = "lut_s8";
  const std::int8_t* x;
  const std::int8_t* table;  // [channels, 256], entry 0 of each answers -128
  std::int8_t* out;
  std::int64_t outer, channels, inner;  // x is seen as [outer, channels, inner]; one table: 1, 1, all
};

struct conv_transpose2d_s8_args {
  static constexpr const char* op = "conv_transpose2d_s8";
  const std::int8_t* x;       // [images, in_channels, in_size]
  const std::int8_t* weight;  // [in_channels, out_channels / groups, kernel]
  const std::int32_t* bias;   // [out_channels]
  const float* multiplier;    // [out_channels]
  std::int8_t* out;           // [images, out_channels, out_size]
  std::int64_t images, in_channels, out_channels, groups;
  extent in_size, out_size, kernel, stride, padding, dilation;
  bounds limit;
};

struct avg_pool_s8_args {
  static constexpr const char* op = "avg_pool_s8";
  const std::int8_t* x;     // [planes, in_size]
  const float* multiplier;  // [kernel.height * kernel.width + 1], by the divisor of the window
  std::int8_t* out;         // [planes, out_size]
  std::int64_t planes;
  extent in_size, out_size, kernel, stride, padding;
  bool count_include_pad;
  bounds limit;
};

struct max_pool_s8_args {
  static constexpr const char* op = "max_pool_s8";
  const std::int8_t* x;  // [planes, in_size]
  std::int8_t* out;      // [planes, out_size]
  std::int64_t planes;
  extent in_size, out_size, kernel, stride, padding, dilation;
};

constexpr int kObserveBins = 2048;
constexpr int kObserveLeastExponent = -116;  // 2^(11 - exponent) is a float32

struct observe_args {
  static constexpr const char* op = "observe";
  const float* x;
  float* extremes;          // [2]
  std::int64_t* tally;      // [3]
  std::int64_t* histogram;  // [kObserveBins]
  std::int64_t size;
};

}  // namespace edgekit
