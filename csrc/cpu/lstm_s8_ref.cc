// lstm_s8, normative: one layer over a sequence, every value rounded as the operator of its own, the cell in int16:
// c' = sat16(rne(fma(float32(f * c), forget, float32(i * g) * write))); see recurrent.h.
// |f * c| <= 2^22 and |i * g| <= 2^14: exact in int32 and in float32.
#include <cstddef>

#include "../ops_sequences.h"
#include "../part.h"
#include "../recurrent.h"

namespace edgekit {

namespace {

// The next state of one unit, and its cell: parts of the input at `at`, the state before in h [units].
std::int8_t next_state(const lstm_s8_args& args, const std::int8_t* h, std::int64_t at, std::int64_t unit,
                       std::int16_t& cell) {
  const lstm_ratios& k = args.ratios;
  const recurrent_weight weight = {args.weight, args.bias, args.multiplier, args.units};
  const auto hidden = [&](std::int64_t gate) { return weight.hidden(h, gate * args.units + unit); };
  const auto table = [&](std::int64_t index) { return args.tables + index * 256; };
  const std::int8_t i = gate(args.i[at], k.input_i, hidden(0), k.hidden_i, table(0));
  const std::int8_t f = gate(args.f[at], k.input_f, hidden(1), k.hidden_f, table(1));
  const std::int8_t g = gate(args.g[at], k.input_g, hidden(2), k.hidden_g, table(2));
  const std::int8_t o = gate(args.o[at], k.input_o, hidden(3), k.hidden_o, table(3));
  cell = saturate16(fused_sum(f * cell, k.forget, i * g, k.write));
  return multiply(o, look_up(table(4), requantize(cell, k.squash, -128, 127)), k.output);
}

}  // namespace

std::size_t lstm_s8_ref_scratch(const lstm_s8_args& args) {
  return static_cast<std::size_t>(args.batch * args.units) * sizeof(std::int16_t);
}

void lstm_s8_ref(const lstm_s8_args& args, const part& part) {
  if (part.index != 0) return;
  const lstm_s8_args own = args;  // a copy, since a store of bytes might change what args points to
  const std::int64_t step = own.batch * own.units;
  auto* cell = static_cast<std::int16_t*>(part.scratch);
  for (std::int64_t at = 0; at < step; ++at) cell[at] = saturate16(own.c0[at] / own.ratios.cell_scale);
  const std::int8_t* before = own.h0;
  for (std::int64_t t = 0; t < own.steps; ++t) {
    const std::int64_t first = (own.reverse ? own.steps - 1 - t : t) * step;
    for (std::int64_t at = 0; at < step; ++at) {
      const std::int64_t unit = at % own.units;
      own.out[first + at] = next_state(own, before + (at - unit), first + at, unit, cell[at]);
    }
    before = own.out + first;
  }
  for (std::int64_t at = 0; at < step; ++at) own.cell_out[at] = static_cast<float>(cell[at]) * own.ratios.cell_scale;
}

}  // namespace edgekit
