// The arguments of the operators of sequences: softmax, norms and recurrent layers; as in ops.h.
#pragma once

#include <cstdint>

namespace edgekit {

// x is seen as [rows, length]. Element i of row r is masked by mask[mask_rows[r] + i * mask_stride].
struct softmax_s8_args {
  static constexpr const char* op = "softmax_s8";
  const std::int8_t* x;
  const std::int32_t* table;      // [256], by the distance from the largest of the row
  const bool* mask;               // null where everything takes part
  const std::int64_t* mask_rows;  // [rows]
  std::int8_t* out;
  std::int64_t rows, length, mask_stride;
  double output_scale;
};

struct layer_norm_s8_args {
  static constexpr const char* op = "layer_norm_s8";
  const std::int8_t* x;  // [rows, length]
  const float* gain;     // [length]
  const float* offset;   // [length]
  std::int8_t* out;
  std::int64_t rows, length;
  double scale, eps;
};

struct rms_norm_s8_args {
  static constexpr const char* op = "rms_norm_s8";
  const std::int8_t* x;  // [rows, length]
  const float* gain;     // [length]
  std::int8_t* out;
  std::int64_t rows, length;
  double scale, eps;
};

struct l2_norm_s8_args {
  static constexpr const char* op = "l2_norm_s8";
  const std::int8_t* x;  // [rows, length]
  std::int8_t* out;
  std::int64_t rows, length;
  double scale, eps;
  float gain;  // 1 / sy
};

struct group_norm_s8_args {
  static constexpr const char* op = "group_norm_s8";
  const std::int8_t* x;  // [images, groups, channels, inner]
  const float* gain;     // [groups * channels]
  const float* offset;   // [groups * channels]
  std::int8_t* out;
  std::int64_t images, groups, channels, inner;  // channels of one group
  double scale, eps;
};

}  // namespace edgekit
