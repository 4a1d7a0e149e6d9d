// GRU and LSTM of the tiers with a dense product: the recurrent parts of all gates at a step are one product of the
// states with the packed weight, and the rest are plain loops over the units; as in plain.h. Parts share the batch: a
// step needs the whole state before it, and threads that meet at every step would wait longer than they compute.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "ops_sequences.h"
#include "part.h"
#include "plain.h"
#include "product.h"
#include "recurrent.h"

namespace edgekit::plain {

constexpr int kUnits = 32;  // in a loop of known length

constexpr std::int64_t gates_of(const gru_s8_args&) {
  return 3;
}
constexpr std::int64_t gates_of(const lstm_s8_args&) {
  return 4;
}

// [rows, units] times the weight: [rows, gates * units].
template <class Args>
Product hidden_product(const Args& args, std::int64_t rows, const std::int8_t* state, std::int8_t* hidden) {
  return product_of(linear_s8_args{state,
                                   args.weight,
                                   args.bias,
                                   args.multiplier,
                                   hidden,
                                   rows,
                                   args.units,
                                   gates_of(args) * args.units,
                                   {-128, 127},
                                   {},
                                   0,
                                   nullptr});
}

template <class Args>
std::size_t recurrent_packed(const Args& args, const DenseProduct& dense) {
  return dense.packed_bytes(hidden_product(args, 0, nullptr, nullptr));
}

template <class Args>
void recurrent_pack(const Args& args, const DenseProduct& dense, void* to) {
  dense.pack_weights(hidden_product(args, 0, nullptr, nullptr),
                     {args.weight, {args.units, 1, 0, 0}, args.units, 1, args.bias, args.multiplier}, to);
}

// Scratch of a part, for the rows of the batch that are its own. Bytes hold q ^ flip of the dense product; a product
// may read a line behind the states.
struct RecurrentMemory {
  std::int8_t* state;   // [rows, units]
  std::int8_t* hidden;  // [rows, gates * units]
  std::int16_t* cell;   // [rows, units], of LSTM
  std::int8_t* rest;    // of the product

  RecurrentMemory(void* scratch, std::int64_t rows, std::int64_t units, std::int64_t gates)
      : state(static_cast<std::int8_t*>(scratch)) {
    const auto states = static_cast<std::size_t>(rows * units);
    hidden = state + line_of(states + 64);
    cell = reinterpret_cast<std::int16_t*>(hidden + line_of(states * static_cast<std::size_t>(gates)));
    rest = reinterpret_cast<std::int8_t*>(cell) + line_of(states * 2);
  }
};

template <class Args>
std::size_t recurrent_scratch(const Args& args, const DenseProduct& dense) {
  const auto states = static_cast<std::size_t>(args.batch * args.units);
  return line_of(states + 64) + line_of(states * static_cast<std::size_t>(gates_of(args))) + line_of(states * 2) +
         dense.scratch_bytes(hidden_product(args, args.batch, nullptr, nullptr));
}

// Some units side by side. What is behind the last of them is any byte.
struct Units {
  std::int8_t q[kUnits];
};

// A copy of kUnits is one of known length too.
template <class T>
EDGEKIT_PLAIN void copy_units(const T* from, int count, T* to) {
  if (count == kUnits) {
    std::copy_n(from, kUnits, to);
  } else {
    std::copy_n(from, count, to);
  }
}

EDGEKIT_PLAIN Units load(const std::int8_t* from, int count, std::uint8_t flip) {
  Units y = {};
  copy_units(from, count, y.q);
  for (int i = 0; i < kUnits; ++i) y.q[i] = static_cast<std::int8_t>(y.q[i] ^ flip);
  return y;
}

EDGEKIT_PLAIN void store(const Units& own, std::int8_t* to, int count, std::uint8_t flip) {
  Units y;
  for (int i = 0; i < kUnits; ++i) y.q[i] = static_cast<std::int8_t>(own.q[i] ^ flip);
  copy_units(y.q, count, to);
}

EDGEKIT_PLAIN Units add(const Units& a, float ratio_a, const Units& b, float ratio_b) {
  const bounds limit = whole_byte();
  Units y;
  for (int i = 0; i < kUnits; ++i) y.q[i] = saturate(fused_sum(a.q[i], ratio_a, b.q[i], ratio_b), limit.lo, limit.hi);
  return y;
}

EDGEKIT_PLAIN Units multiply(const Units& a, const Units& b, float multiplier) {
  const bounds limit = whole_byte();
  Units y;
  for (int i = 0; i < kUnits; ++i) y.q[i] = requantize(a.q[i] * b.q[i], multiplier, limit.lo, limit.hi);
  return y;
}

// Byte by byte, which the compiler is not to know: as vectors it would take each index out of one and put each byte
// into another.
EDGEKIT_PLAIN Units look_up(const std::int8_t* table, const Units& own) {
  Units y;
#pragma GCC unroll 8
  for (int i = 0; i < kUnits; ++i) {
    int value = table[own.q[i] + 128];
    __asm__("" : "+r"(value));
    y.q[i] = static_cast<std::int8_t>(value);
  }
  return y;
}

EDGEKIT_PLAIN Units gate(const Units& part, float ratio_part, const Units& hidden, float ratio_hidden,
                         const std::int8_t* table) {
  return look_up(table, add(part, ratio_part, hidden, ratio_hidden));
}

// Up to kUnits of one row at one step.
struct Place {
  std::int64_t at;                   // in the parts of the input, and in the result
  std::int64_t state, hidden, unit;  // in RecurrentMemory, and in the row
  int count;
};

// Walks through time: each(place, memory) gives the next states at a place.
template <class Args, class Each>
EDGEKIT_PLAIN void walk(const Args& args, range rows, const RecurrentMemory& memory, const DenseProduct& dense,
                        Each each) {
  const std::int64_t count = rows.end - rows.begin, units = args.units, gates = gates_of(args);
  const std::uint8_t turn = args.flip ^ dense.flip;
  const std::int8_t* h0 = args.h0 + rows.begin * units;
  for (std::int64_t i = 0; i < count * units; ++i) memory.state[i] = static_cast<std::int8_t>(h0[i] ^ turn);
  const Product product = hidden_product(args, count, memory.state, memory.hidden);
  for (std::int64_t t = 0; t < args.steps; ++t) {
    dense.multiply(product, args.packed, {-128, 127}, {}, {0, 1, memory.rest});
    const std::int64_t first = ((args.reverse ? args.steps - 1 - t : t) * args.batch + rows.begin) * units;
    for (std::int64_t row = 0; row < count; ++row)
      for (std::int64_t unit = 0; unit < units; unit += kUnits) {
        const Place place = {first + row * units + unit, row * units + unit, row * gates * units + unit, unit,
                             static_cast<int>(std::min<std::int64_t>(units - unit, kUnits))};
        const Units h = each(place);
        store(h, memory.state + place.state, place.count, dense.flip);
        store(h, args.out + place.at, place.count, args.flip);
      }
  }
}

EDGEKIT_PLAIN void gru(const gru_s8_args& all, const part& part, const DenseProduct& dense) {
  const gru_s8_args args = all;  // a copy, since a store of bytes might change what it points to
  const range rows = share_of(args.batch, part);
  if (rows.begin == rows.end) return;
  const gru_ratios& k = args.ratios;
  const RecurrentMemory memory(part.scratch, rows.end - rows.begin, args.units, gates_of(args));
  const std::int8_t *sigmoid_r = args.tables, *sigmoid_z = sigmoid_r + 256, *tanh_n = sigmoid_z + 256,
                    *one_minus = tanh_n + 256;
  walk(args, rows, memory, dense, [&](const Place& p) __attribute__((always_inline)) {
    const auto input = [&](const std::int8_t* part)
                           __attribute__((always_inline)) { return load(part + p.at, p.count, args.flip); };
    const auto hidden = [&](int gate) __attribute__((always_inline)) {
      return load(memory.hidden + p.hidden + gate * args.units, p.count, dense.flip);
    };
    const Units r = gate(input(args.r), k.input_r, hidden(0), k.hidden_r, sigmoid_r);
    const Units z = gate(input(args.z), k.input_z, hidden(1), k.hidden_z, sigmoid_z);
    const Units n = gate(input(args.n), k.input_n, multiply(r, hidden(2), k.reset), k.reset_n, tanh_n);
    const Units h = load(memory.state + p.state, p.count, dense.flip);
    return add(multiply(look_up(one_minus, z), n, k.new_product), k.new_h, multiply(z, h, k.old_product), k.old_h);
  });
}

// c' of some units, kept in `cell`; as the table of the last tanh wants it.
EDGEKIT_PLAIN Units next_cell(const lstm_ratios& k, const Units& i, const Units& f, const Units& g, std::int16_t* cell,
                              int count) {
  std::int16_t c[kUnits] = {};
  copy_units(cell, count, c);
  const bounds wide = opaque({-32768, 32767}), limit = whole_byte();
  for (int u = 0; u < kUnits; ++u) {
    const float sum = fused_sum(f.q[u] * c[u], k.forget, i.q[u] * g.q[u], k.write);
    c[u] = static_cast<std::int16_t>(clamp_and_round(sum, wide.lo, wide.hi));
  }
  Units y;
  for (int u = 0; u < kUnits; ++u) y.q[u] = requantize(c[u], k.squash, limit.lo, limit.hi);
  copy_units(c, count, cell);
  return y;
}

EDGEKIT_PLAIN void lstm(const lstm_s8_args& all, const part& part, const DenseProduct& dense) {
  const lstm_s8_args args = all;  // a copy, since a store of bytes might change what it points to
  const range rows = share_of(args.batch, part);
  if (rows.begin == rows.end) return;
  const lstm_ratios& k = args.ratios;
  const RecurrentMemory memory(part.scratch, rows.end - rows.begin, args.units, gates_of(args));
  const std::int64_t begin = rows.begin * args.units, states = (rows.end - rows.begin) * args.units;
  for (std::int64_t i = 0; i < states; ++i) memory.cell[i] = saturate16(args.c0[begin + i] / k.cell_scale);
  const auto table = [&](int index) __attribute__((always_inline)) { return args.tables + index * 256; };
  walk(args, rows, memory, dense, [&](const Place& p) __attribute__((always_inline)) {
    const auto input = [&](const std::int8_t* part)
                           __attribute__((always_inline)) { return load(part + p.at, p.count, args.flip); };
    const auto hidden = [&](int gate) __attribute__((always_inline)) {
      return load(memory.hidden + p.hidden + gate * args.units, p.count, dense.flip);
    };
    const Units i = gate(input(args.i), k.input_i, hidden(0), k.hidden_i, table(0));
    const Units f = gate(input(args.f), k.input_f, hidden(1), k.hidden_f, table(1));
    const Units g = gate(input(args.g), k.input_g, hidden(2), k.hidden_g, table(2));
    const Units o = gate(input(args.o), k.input_o, hidden(3), k.hidden_o, table(3));
    const Units squashed = next_cell(k, i, f, g, memory.cell + p.state, p.count);
    return multiply(o, look_up(table(4), squashed), k.output);
  });
  for (std::int64_t i = 0; i < states; ++i)
    args.cell_out[begin + i] = static_cast<float>(memory.cell[i]) * k.cell_scale;
}

}  // namespace edgekit::plain
