// The arguments of every operator: one plain struct each, named <op>_args. Arrays are dense and in C order where no
// steps say otherwise; the caller owns them and has checked every size (bind.cc and engine/ do), so a kernel checks
// nothing. Meanings: edgekit/ops/<op>.py. `flip` is 0, or 0x80 where bytes of activations hold q + 128 (kBiased and
// kFlips of dispatch.h); plain kernels see 0 only.
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

// Where the elements of images lie: from one to the next along each axis, in elements.
struct steps {
  std::int64_t image, channel, row, column;
};

constexpr steps channels_first(std::int64_t channels, extent size) {
  const std::int64_t area = size.height * size.width;
  return {channels * area, area, size.width, 1};
}

constexpr steps channels_last(std::int64_t channels, extent size) {
  return {size.height * size.width * channels, 1, size.width * channels, channels};
}

// What is added to the result y of a product once it is in its bounds: add_s8 of y and x, or of x and y where x is
// first.
struct residual {
  const std::int8_t* x;  // null: nothing is added
  steps step;            // of a linear layer: `row` alone
  float ratio, x_ratio;
  bool first;
  bounds limit;
};

struct quantize_s8_args {
  static constexpr const char* op = "quantize_s8";
  const float* x;
  const float* scale;  // [channels]
  std::int8_t* out;
  axes along;             // sizes of x, at least one, and the step of each in out
  std::int64_t channels;  // indices of the dimension before the last, each with a scale; 1: one scale for all
  bounds limit;
  std::uint8_t flip;
};

// x is seen as [outer, channels, inner] with one scale for each channel; per tensor, outer = channels = 1. Exactly one
// of x_s8 and x_s32 is set.
struct dequantize_args {
  static constexpr const char* op = "dequantize";
  const std::int8_t* x_s8;
  const std::int32_t* x_s32;
  const float* scale;
  float* out;
  std::int64_t outer, channels, inner;
  std::uint8_t flip;  // of s8
};

struct fake_quantize_args {
  static constexpr const char* op = "fake_quantize";
  const float* x;
  const float* scale;
  float* out;
  std::int64_t outer, channels, inner;
  bounds limit;
};

struct fake_quantize_backward_args {
  static constexpr const char* op = "fake_quantize_backward";
  const float* gradient;
  const float* x;
  const float* scale;
  float* of_x;
  float* of_scale;  // [channels]; null: not asked for
  std::int64_t outer, channels, inner;
  bounds limit;
};

struct group_scores_args {
  static constexpr const char* op = "group_scores";
  const float* weight;
  float* magnitudes;  // [channels]
  float* squares;     // [channels]
  std::int64_t outer, channels, inner;
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
  residual added;
  std::uint8_t flip;
  const void* packed;  // of kernels that pack their weights
};

struct linear_dynamic_args {
  static constexpr const char* op = "linear_dynamic";
  const float* x;             // [rows, fan_in]
  const std::int8_t* weight;  // [features, fan_in]
  const float* weight_scale;  // [features]
  const float* bias;          // [features], or null
  float* out;                 // [rows, features]
  std::int64_t rows, fan_in, features;
};

struct conv2d_s8_args {
  static constexpr const char* op = "conv2d_s8";
  const std::int8_t* x;  // images of in_channels and in_size
  steps x_step;
  const std::int8_t* weight;  // [out_channels, in_channels / groups, kernel]: `image` goes from filter to filter
  steps weight_step;
  const std::int32_t* bias;  // [out_channels]
  const float* multiplier;   // [out_channels]
  std::int8_t* out;          // images of out_channels and out_size
  steps out_step;
  std::int64_t images, in_channels, out_channels, groups;
  extent in_size, out_size, kernel, stride, padding, dilation;  // padding above and on the left; out_size says the rest
  bounds limit;
  residual added;
  std::uint8_t flip;
  const void* packed;
};

struct add_s8_args {
  static constexpr const char* op = "add_s8";
  const std::int8_t* a;
  const std::int8_t* b;
  std::int8_t* out;
  broadcast shape;
  float ratio_a, ratio_b;
  bounds limit;
  std::uint8_t flip;
};

struct mul_s8_args {
  static constexpr const char* op = "mul_s8";
  const std::int8_t* a;
  const std::int8_t* b;
  std::int8_t* out;
  broadcast shape;
  float multiplier;
  bounds limit;
  std::uint8_t flip;
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
  std::uint8_t flip;
};

struct sum_s8_args {
  static constexpr const char* op = "sum_s8";
  const std::int8_t* x;
  std::int8_t* out;    // [kept]
  axes kept, reduced;  // of x, each in order
  float multiplier;
  bounds limit;
  std::uint8_t flip;
};

struct lut_s8_args {
  static constexpr const char* op = "lut_s8";
  const std::int8_t* x;
  const std::int8_t* table;  // [channels, 256], entry 0 of each answers -128
  std::int8_t* out;
  std::int64_t outer, channels, inner;  // x is seen as [outer, channels, inner]; one table: 1, 1, all
  std::int64_t x_step, out_step;        // from one of `outer` to the next
  std::uint8_t flip;
};

struct conv_transpose2d_s8_args {
  static constexpr const char* op = "conv_transpose2d_s8";
  const std::int8_t* x;  // images of in_channels and in_size
  steps x_step;
  const std::int8_t* weight;  // [in_channels, out_channels / groups, kernel]
  const std::int32_t* bias;   // [out_channels]
  const float* multiplier;    // [out_channels]
  std::int8_t* out;           // images of out_channels and out_size
  steps out_step;
  std::int64_t images, in_channels, out_channels, groups;
  extent in_size, out_size, kernel, stride, padding, dilation;
  bounds limit;
};

struct avg_pool_s8_args {
  static constexpr const char* op = "avg_pool_s8";
  const std::int8_t* x;  // images of in_size
  steps x_step;
  const float* multiplier;  // [kernel.height * kernel.width + 1], by the divisor of the window
  std::int8_t* out;         // images of out_size
  steps out_step;
  std::int64_t images, channels;
  extent in_size, out_size, kernel, stride, padding;
  bool count_include_pad;
  bounds limit;
  std::uint8_t flip;
};

struct max_pool_s8_args {
  static constexpr const char* op = "max_pool_s8";
  const std::int8_t* x;  // images of in_size
  steps x_step;
  std::int8_t* out;  // images of out_size
  steps out_step;
  std::int64_t images, channels;
  extent in_size, out_size, kernel, stride, padding, dilation;
  std::uint8_t flip;
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
