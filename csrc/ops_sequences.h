// The arguments of the operators of sequences: softmax, norms and recurrent layers; as in ops.h. `packed` is the weight
// of a recurrent layer as a kernel with kPacked wants it.
#pragma once

#include <cstdint>

namespace edgekit {

// x is seen as [rows, length]. Element i of row r is masked by mask[mask_rows[r] + i * mask_stride].
struct softmax_s8_args {
  static constexpr const char* op = "softmax_s8";
  const std::int8_t* x;
  const std::int32_t* table;      // [256], by the distance from the largest of the row
  const std::uint8_t* mask;       // bytes of bool; null where everything takes part
  const std::int64_t* mask_rows;  // [rows]
  std::int8_t* out;
  std::int64_t rows, length, mask_stride;
  double output_scale;
  std::uint8_t flip;
};

// Matrix i of the result is made of matrices of [queries, depth], [keys, depth] and [keys, values], which begin at
// places[i]; key j of query i is masked by mask[places[...].mask + i * mask_query + j * mask_key].
struct attention_s8_args {
  static constexpr const char* op = "attention_s8";
  struct place {
    std::int64_t q, k, v, mask;
  };
  const std::int8_t *q, *k, *v;
  const std::int32_t* table;  // [256], by the distance from the largest of the row
  const std::uint8_t* mask;   // bytes of bool; null where everything takes part
  const place* places;        // [batch]
  std::int8_t* out;           // [batch, queries, values]
  std::int64_t batch, queries, keys, depth, values, mask_query, mask_key;
  float score_multiplier, multiplier;
  double softmax_scale;
};

struct layer_norm_s8_args {
  static constexpr const char* op = "layer_norm_s8";
  const std::int8_t* x;  // [rows, length]
  const float* gain;     // [length]
  const float* offset;   // [length]
  std::int8_t* out;
  std::int64_t rows, length;
  double scale, eps;
  std::uint8_t flip;
};

struct rms_norm_s8_args {
  static constexpr const char* op = "rms_norm_s8";
  const std::int8_t* x;  // [rows, length]
  const float* gain;     // [length]
  std::int8_t* out;
  std::int64_t rows, length;
  double scale, eps;
  std::uint8_t flip;
};

struct l2_norm_s8_args {
  static constexpr const char* op = "l2_norm_s8";
  const std::int8_t* x;  // [rows, length]
  std::int8_t* out;
  std::int64_t rows, length;
  double scale, eps;
  float gain;  // 1 / sy
  std::uint8_t flip;
};

struct group_norm_s8_args {
  static constexpr const char* op = "group_norm_s8";
  const std::int8_t* x;  // [images, groups, channels, inner]
  const float* gain;     // [groups * channels]
  const float* offset;   // [groups * channels]
  std::int8_t* out;
  std::int64_t images, groups, channels, inner;  // channels of one group
  double scale, eps;
  std::uint8_t flip;
};

// The ratios of scales of one layer, in the order of edgekit/ops/gru_s8.py.
struct gru_ratios {
  float input_r, hidden_r, input_z, hidden_z, reset, input_n, reset_n, new_product, old_product, new_h, old_h;
};

struct gru_s8_args {
  static constexpr const char* op = "gru_s8";
  const std::int8_t *r, *z, *n;  // [steps, batch, units], the parts of the input
  const std::int8_t* h0;         // [batch, units]
  const std::int8_t* weight;     // [3 * units, units], rows of r, z, n
  const std::int32_t* bias;      // [3 * units]
  const float* multiplier;       // [3 * units]
  const std::int8_t* tables;     // [4, 256]
  std::int8_t* out;              // [steps, batch, units]
  std::int64_t steps, batch, units;
  gru_ratios ratios;
  bool reverse;
  std::uint8_t flip;
  const void* packed;
};

// In the order of edgekit/ops/lstm_s8.py.
struct lstm_ratios {
  float input_i, hidden_i, input_f, hidden_f, input_g, hidden_g, input_o, hidden_o;
  float forget, write, squash, output, cell_scale;
};

struct lstm_s8_args {
  static constexpr const char* op = "lstm_s8";
  const std::int8_t *i, *f, *g, *o;  // [steps, batch, units], the parts of the input
  const std::int8_t* h0;             // [batch, units]
  const float* c0;                   // [batch, units]
  const std::int8_t* weight;         // [4 * units, units], rows of i, f, g, o
  const std::int32_t* bias;          // [4 * units]
  const float* multiplier;           // [4 * units]
  const std::int8_t* tables;         // [5, 256]
  std::int8_t* out;                  // [steps, batch, units]
  float* cell_out;                   // [batch, units]
  std::int64_t steps, batch, units;
  lstm_ratios ratios;
  bool reverse;
  std::uint8_t flip;
  const void* packed;
};

}  // namespace edgekit
