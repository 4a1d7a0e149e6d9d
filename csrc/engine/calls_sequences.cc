// Rows and sequences: softmax, norms, recurrent layers. All dense.
#include <algorithm>

#include "../ops_sequences.h"
#include "invocation.h"

namespace edgekit {

namespace {

constexpr float kMostRatio = 1048576.0f;  // 2^20

// x and out as rows of `length` values.
i64 rows_of(const site& at, i64& length) {
  const tensor &x = at.in(0), &out = at.out();
  at.need_s8({&x, &out});
  at.need_dense(x);
  at.need_dense(out);
  at.need(x.dims >= 1 && same_sizes(x, out), "x and out have different sizes");
  length = x.size[x.dims - 1];
  at.need_set(length);
  return elements(x) / length;
}

// Where the mask of each row begins; the mask's sizes align with those of x from the right.
void set_mask(const site& at, maker<softmax_s8_args>& make) {
  const tensor &x = at.in(0), &mask = at.in(2);
  at.need_type(mask, plan::type::boolean);
  at.need(mask.dims <= x.dims, "mask has more dimensions than x");
  i64 step[plan::kMaxDims] = {};
  for (u32 d = 0; d < mask.dims; ++d) {
    const u32 to = d + x.dims - mask.dims;
    at.need(mask.size[d] == 1 || mask.size[d] == x.size[to], "mask does not broadcast to x");
    step[to] = mask.size[d] == 1 ? 0 : mask.step[d];
  }
  make.read(make.args.mask, 2);
  make.args.mask_stride = step[x.dims - 1];
  make.result.row_offsets.resize(static_cast<std::size_t>(make.args.rows));
  for (i64 row = 0; row < make.args.rows; ++row) {
    i64 begin = 0, rest = row;
    for (u32 d = x.dims - 1; d-- > 0; rest /= x.size[d]) begin += rest % x.size[d] * step[d];
    make.result.row_offsets[static_cast<std::size_t>(row)] = begin;
  }
  make.result.rows = make.offset(&make.args.mask_rows);
}

template <class Ratios>
Ratios ratios_of(const site& at, u32 input) {
  constexpr i64 kCount = sizeof(Ratios) / sizeof(float);
  at.need_constant(input, plan::type::f32, {kCount});
  Ratios result;
  std::memcpy(&result, at.plan.data + at.in(input).region + at.in(input).first, sizeof result);
  float values[kCount];
  std::memcpy(values, &result, sizeof values);
  for (const float value : values) at.need_normal(value, "a ratio");
  return result;
}

void within(const site& at, std::initializer_list<float> ratios, float least) {
  for (const float ratio : ratios) at.need(ratio >= least && ratio <= kMostRatio, "a ratio is out of range");
}

struct recurrence {
  i64 steps, batch, units;
};

// `gates` parts of the input, then h0 (and c0), weight, bias, multiplier, tables.
recurrence need_recurrent(const site& at, u32 gates, u32 h0, u32 weight, u32 tables) {
  const tensor& first = at.in(0);
  at.need(first.dims == 3, "the parts of the input are not of three dimensions");
  const recurrence size = {first.size[0], first.size[1], first.size[2]};
  for (u32 i = 0; i < gates; ++i) {
    at.need_s8({&at.in(i)});
    at.need_sizes(at.in(i), {size.steps, size.batch, size.units});
    at.need_dense(at.in(i));
  }
  at.need_s8({&at.in(h0), &at.out()});
  at.need_sizes(at.in(h0), {size.batch, size.units});
  at.need_dense(at.in(h0));
  at.need_sizes(at.out(), {size.steps, size.batch, size.units});
  at.need_dense(at.out());
  at.need(size.units <= 131071, "a sum is over more than 131,071 products, which int32 does not hold");
  at.need_constant(weight, plan::type::s8, {gates * size.units, size.units});
  at.need_constant(weight + 1, plan::type::s32, {gates * size.units});
  at.need_constant(weight + 2, plan::type::f32, {gates * size.units});
  at.need_finite(weight + 2);
  at.need_constant(weight + 3, plan::type::s8, {tables, 256});
  return size;
}

}  // namespace

invocation call_softmax_s8(const site& at) {
  maker<softmax_s8_args> make(at);
  make.args.rows = rows_of(at, make.args.length);
  at.need_constant(1, plan::type::s32, {256});
  make.args.output_scale = at.own<plan::attributes::softmax_s8>().output_scale;
  at.need_normal(make.args.output_scale, "its output scale");
  make.read(make.args.x, 0);
  make.parameter(make.args.table, 1);
  make.write(make.args.out);
  if (at.has(2)) set_mask(at, make);
  make.result.flip = make.offset(&make.args.flip);
  return make.as_word();
}

invocation call_layer_norm_s8(const site& at) {
  const auto& own = at.own<plan::attributes::layer_norm_s8>();
  maker<layer_norm_s8_args> make(at);
  make.args.rows = rows_of(at, make.args.length);
  for (const u32 input : {1u, 2u}) {
    at.need_constant(input, plan::type::f32, {make.args.length});
    at.need_finite(input);
  }
  at.need_normal(own.input_scale, "its input scale");
  at.need_eps(own.eps);
  make.read(make.args.x, 0);
  make.parameter(make.args.gain, 1);
  make.parameter(make.args.offset, 2);
  make.write(make.args.out);
  make.args.scale = own.input_scale;
  make.args.eps = own.eps;
  make.result.flip = make.offset(&make.args.flip);
  return make.as_word();
}

invocation call_rms_norm_s8(const site& at) {
  const auto& own = at.own<plan::attributes::rms_norm_s8>();
  maker<rms_norm_s8_args> make(at);
  make.args.rows = rows_of(at, make.args.length);
  at.need_constant(1, plan::type::f32, {make.args.length});
  at.need_finite(1);
  at.need_normal(own.input_scale, "its input scale");
  at.need_eps(own.eps);
  make.read(make.args.x, 0);
  make.parameter(make.args.gain, 1);
  make.write(make.args.out);
  make.args.scale = own.input_scale;
  make.args.eps = own.eps;
  make.result.flip = make.offset(&make.args.flip);
  return make.as_word();
}

invocation call_l2_norm_s8(const site& at) {
  const auto& own = at.own<plan::attributes::l2_norm_s8>();
  maker<l2_norm_s8_args> make(at);
  make.args.rows = rows_of(at, make.args.length);
  at.need_normal(own.input_scale, "its input scale");
  at.need_normal(own.output_scale, "its output scale");
  at.need_eps(own.eps);
  make.read(make.args.x, 0);
  make.write(make.args.out);
  make.args.scale = own.input_scale;
  make.args.eps = own.eps;
  make.args.gain = 1.0f / static_cast<float>(own.output_scale);
  make.result.flip = make.offset(&make.args.flip);
  return make.as_word();
}

invocation call_group_norm_s8(const site& at) {
  const auto& own = at.own<plan::attributes::group_norm_s8>();
  const tensor &x = at.in(0), &out = at.out();
  at.need_s8({&x, &out});
  at.need_dense(x);
  at.need_dense(out);
  at.need(x.dims >= 2 && same_sizes(x, out), "x and out have different sizes, or fewer than two dimensions");
  at.need(own.groups >= 1 && own.groups <= x.size[1] && x.size[1] % own.groups == 0,
          "groups do not divide the channels");
  for (const u32 input : {1u, 2u}) {
    at.need_constant(input, plan::type::f32, {x.size[1]});
    at.need_finite(input);
  }
  at.need_normal(own.input_scale, "its input scale");
  at.need_eps(own.eps);
  maker<group_norm_s8_args> make(at);
  make.args.images = x.size[0];
  make.args.groups = own.groups;
  make.args.channels = x.size[1] / own.groups;
  make.args.inner = 1;
  for (u32 d = 2; d < x.dims; ++d) make.args.inner *= x.size[d];
  at.need_set(make.args.channels * make.args.inner);
  make.read(make.args.x, 0);
  make.parameter(make.args.gain, 1);
  make.parameter(make.args.offset, 2);
  make.write(make.args.out);
  make.args.scale = own.input_scale;
  make.args.eps = own.eps;
  make.result.flip = make.offset(&make.args.flip);
  return make.as_word();
}

invocation call_gru_s8(const site& at) {
  const recurrence size = need_recurrent(at, 3, 3, 4, 4);
  const gru_ratios k = ratios_of<gru_ratios>(at, 8);
  within(at, {k.input_r, k.hidden_r, k.input_z, k.hidden_z, k.input_n, k.reset_n, k.new_h, k.old_h}, 1 / kMostRatio);
  maker<gru_s8_args> make(at);
  gru_s8_args& args = make.args;
  make.read(args.r, 0);
  make.read(args.z, 1);
  make.read(args.n, 2);
  make.read(args.h0, 3);
  make.parameter(args.weight, 4);
  make.parameter(args.bias, 5);
  make.parameter(args.multiplier, 6);
  make.parameter(args.tables, 7);
  make.write(args.out);
  args.steps = size.steps;
  args.batch = size.batch;
  args.units = size.units;
  args.ratios = k;
  args.reverse = at.own<plan::attributes::gru_s8>().reverse != 0;
  make.result.flip = make.offset(&args.flip);
  make.result.packed = make.offset(&args.packed);
  make.result.macs = 3 * elements(at.out()) * size.units;
  return make.as_word();
}

invocation call_lstm_s8(const site& at) {
  const recurrence size = need_recurrent(at, 4, 4, 6, 5);
  const lstm_ratios k = ratios_of<lstm_ratios>(at, 10);
  within(at, {k.input_i, k.hidden_i, k.input_f, k.hidden_f, k.input_g, k.hidden_g, k.input_o, k.hidden_o},
         1 / kMostRatio);
  within(at, {k.forget, k.write}, 1.0f / 32768);
  for (const tensor* cell : {&at.in(5), &at.out(1)}) {
    at.need_type(*cell, plan::type::f32);
    at.need_sizes(*cell, {size.batch, size.units});
    at.need_dense(*cell);
  }
  maker<lstm_s8_args> make(at);
  lstm_s8_args& args = make.args;
  make.read(args.i, 0);
  make.read(args.f, 1);
  make.read(args.g, 2);
  make.read(args.o, 3);
  make.read(args.h0, 4);
  make.read(args.c0, 5);
  make.parameter(args.weight, 6);
  make.parameter(args.bias, 7);
  make.parameter(args.multiplier, 8);
  make.parameter(args.tables, 9);
  make.write(args.out);
  make.write(args.cell_out, 1);
  args.steps = size.steps;
  args.batch = size.batch;
  args.units = size.units;
  args.ratios = k;
  args.reverse = at.own<plan::attributes::lstm_s8>().reverse != 0;
  make.result.flip = make.offset(&args.flip);
  make.result.packed = make.offset(&args.packed);
  make.result.macs = 4 * elements(at.out()) * size.units;
  return make.as_word();
}

}  // namespace edgekit
