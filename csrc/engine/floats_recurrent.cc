// GRU and LSTM in float, as torch computes a step: every quantity is rounded to float32 as if it were a word of its
// own. A part has sequences of its own, from the first step to the last.
#include <algorithm>

#include "floats.h"
#include "floats_functions.h"
#include "floats_product.h"

namespace edgekit {

namespace {

std::int64_t padded(std::int64_t columns) {
  return (columns + kTileColumns - 1) / kTileColumns * kTileColumns;
}

// hidden = h * weight + bias for the state of one sequence; weight [units, columns].
void recurrent_part(const float* h, const float* weight, const float* bias, std::int64_t units, std::int64_t columns,
                    float* hidden) {
  for (std::int64_t first = 0; first < columns; first += kTileColumns) {
    product_tile tile = {};
    tile.a = h;
    tile.a_step = 1;
    tile.b = weight + first;  // what is read behind the last column is the slack of a constant, or the next row
    tile.b_row = columns;
    tile.out = hidden + first;
    tile.rows = 1;
    tile.depth = units;
    tile.columns = std::min(kTileColumns, columns - first);
    tile.column_bias = bias + first;
    multiply(tile);
  }
}

}  // namespace

std::size_t recurrent_f32_scratch(std::int64_t gates, std::int64_t units) {
  return static_cast<std::size_t>(padded(gates * units) + units) * sizeof(float);
}

void gru_f32_move(const gru_f32_args& args, const part& part) {
  const std::int64_t units = args.units;
  const range share = share_of(args.batch, part);
  auto* hidden = static_cast<float*>(part.scratch);
  for (std::int64_t row = share.begin; row < share.end; ++row) {
    const float* h = args.h0 + row * units;
    for (std::int64_t step = 0; step < args.steps; ++step) {
      const std::int64_t at = ((args.reverse ? args.steps - 1 - step : step) * args.batch + row) * units;
      recurrent_part(h, args.weight, args.bias, units, 3 * units, hidden);
      for (std::int64_t i = 0; i < units; ++i) {
        const float r = functions::sigmoid(args.gates[0][at + i] + hidden[i]);
        const float z = functions::sigmoid(args.gates[1][at + i] + hidden[units + i]);
        const float n = functions::tanh(args.gates[2][at + i] + r * hidden[2 * units + i]);
        args.out[at + i] = (1 - z) * n + z * h[i];
      }
      h = args.out + at;
    }
  }
}

void lstm_f32_move(const lstm_f32_args& args, const part& part) {
  const std::int64_t units = args.units;
  const range share = share_of(args.batch, part);
  auto* hidden = static_cast<float*>(part.scratch);
  float* cell = hidden + padded(4 * units);
  for (std::int64_t row = share.begin; row < share.end; ++row) {
    const float* h = args.h0 + row * units;
    std::copy_n(args.c0 + row * units, units, cell);
    for (std::int64_t step = 0; step < args.steps; ++step) {
      const std::int64_t at = ((args.reverse ? args.steps - 1 - step : step) * args.batch + row) * units;
      recurrent_part(h, args.weight, args.bias, units, 4 * units, hidden);
      for (std::int64_t k = 0; k < units; ++k) {
        const float i = functions::sigmoid(args.gates[0][at + k] + hidden[k]);
        const float f = functions::sigmoid(args.gates[1][at + k] + hidden[units + k]);
        const float g = functions::tanh(args.gates[2][at + k] + hidden[2 * units + k]);
        const float o = functions::sigmoid(args.gates[3][at + k] + hidden[3 * units + k]);
        cell[k] = f * cell[k] + i * g;
        args.out[at + k] = o * functions::tanh(cell[k]);
      }
      h = args.out + at;
    }
    std::copy_n(cell, units, args.cell + row * units);
  }
}

}  // namespace edgekit
