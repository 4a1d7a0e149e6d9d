// gru_s8, normative: one layer over a sequence, every value rounded as the operator of its own; see recurrent.h.
#include "../ops_sequences.h"
#include "../recurrent.h"

namespace edgekit {

namespace {

// The next state of one unit: parts of the input at `at`, the state before in h [units].
std::int8_t next_state(const gru_s8_args& args, const std::int8_t* h, std::int64_t at, std::int64_t unit) {
  const gru_ratios& k = args.ratios;
  const recurrent_weight weight = {args.weight, args.bias, args.multiplier, args.units};
  const std::int8_t *sigmoid_r = args.tables, *sigmoid_z = sigmoid_r + 256, *tanh_n = sigmoid_z + 256;
  const std::int8_t* one_minus = tanh_n + 256;
  const std::int8_t r = gate(args.r[at], k.input_r, weight.hidden(h, unit), k.hidden_r, sigmoid_r);
  const std::int8_t z = gate(args.z[at], k.input_z, weight.hidden(h, args.units + unit), k.hidden_z, sigmoid_z);
  const std::int8_t reset = multiply(r, weight.hidden(h, 2 * args.units + unit), k.reset);
  const std::int8_t n = gate(args.n[at], k.input_n, reset, k.reset_n, tanh_n);
  return add(multiply(look_up(one_minus, z), n, k.new_product), k.new_h, multiply(z, h[unit], k.old_product), k.old_h);
}

}  // namespace

void gru_s8_ref(const gru_s8_args& args) {
  const gru_s8_args own = args;  // a copy, since a store of bytes might change what args points to
  const std::int64_t step = own.batch * own.units;
  const std::int8_t* before = own.h0;
  for (std::int64_t i = 0; i < own.steps; ++i) {
    const std::int64_t first = (own.reverse ? own.steps - 1 - i : i) * step;
    for (std::int64_t at = 0; at < step; ++at) {
      const std::int64_t unit = at % own.units;
      own.out[first + at] = next_state(own, before + (at - unit), first + at, unit);
    }
    before = own.out + first;
  }
}

}  // namespace edgekit
