#include "nets.h"

#include "random.h"

namespace edgekit::test {

namespace {

using namespace plan::attributes;
using plan::i32;
using plan::type;
using View = PlanWriter::View;

constexpr u32 kNone = plan::kNone;

// weight, bias and multiplier of a layer.
struct Layer {
  View weight, bias, multiplier;
};

Layer layer(PlanWriter& plan, Random& random, const PlanWriter::Sizes& weight, i64 channels) {
  i64 count = 1;
  for (const i64 size : weight) count *= size;
  const float usual = 1.0f / static_cast<float>(40 * (count / channels) + 200);
  return {plan.constant(type::s8, weight, random.bytes(count)),
          plan.constant(type::s32, {channels}, random.words(channels, 4000)),
          plan.constant(type::f32, {channels}, random.reals(channels, usual, 3 * usual))};
}

conv2d_s8 geometry(u32 stride, u32 pad, u32 groups) {
  conv2d_s8 own = {};
  own.stride_height = own.stride_width = stride;
  own.pad_top = own.pad_left = own.pad_bottom = own.pad_right = pad;
  own.dilation_height = own.dilation_width = 1;
  own.groups = groups;
  own.lo = own.sum_lo = -128;
  own.hi = own.sum_hi = 127;
  own.ratio = 0.75f;
  own.residual_ratio = 0.5f;
  return own;
}

std::vector<std::int32_t> softmax_table() {
  std::vector<std::int32_t> table(256);
  for (int i = 0; i < 256; ++i) table[static_cast<std::size_t>(i)] = i * i + 1;
  return table;
}

}  // namespace

Bytes image_net(i64 side) {
  PlanWriter plan;
  Random random;
  const View image = plan.input({1, 3, side, side}, type::f32), odds = plan.output({1, 10}, type::f32),
             map = plan.output({1, side / 2, side / 2, 16});
  const View x = plan.framed({1, side, side, 3}, 1, 0.02f), first = plan.framed({1, side, side, 16}, 1),
             deep = plan.region({1, side, side, 16}), sum = plan.region({1, side, side, 16}),
             half = plan.region({1, side / 2, side / 2, 16}), smooth = plan.region({1, side / 4, side / 4, 16}),
             mean = plan.region({1, 16}), logits = plan.region({1, 10}),
             chances = plan.region({1, 10}, type::s8, 1.0f / 128);
  plan.add(halo{1, 1, 1, 1}, {}, {x});
  plan.add(halo{1, 1, 1, 1}, {}, {first});
  plan.add(quantize_s8{1, -128, 127, 0}, {image}, {x});
  const Layer a = layer(plan, random, {16, 3, 3, 3}, 16), b = layer(plan, random, {16, 3, 3, 1}, 16),
              c = layer(plan, random, {16, 1, 1, 16}, 16), d = layer(plan, random, {10, 16}, 10);
  plan.add(geometry(1, 1, 1), {x, a.weight, a.bias, a.multiplier}, {first});
  plan.add(geometry(1, 1, 16), {first, b.weight, b.bias, b.multiplier}, {deep});
  plan.add(geometry(1, 0, 1), {deep, c.weight, c.bias, c.multiplier, first}, {sum});
  plan.add(max_pool_s8{2, 2, 2, 2, 0, 0, 1, 1}, {sum}, {half});
  plan.add(lut_s8{-1, 0}, {half, plan.constant(type::s8, {256}, random.bytes(256))}, {map});
  const std::vector<float> divisors = {0, 1, 0.5f, 1.0f / 3, 0.25f};
  plan.add(avg_pool_s8{2, 2, 2, 2, 0, 0, 1, -128, 127, 0}, {half, plan.constant(type::f32, {5}, divisors)}, {smooth});
  plan.add(sum_s8{6, 4.0f / static_cast<float>(side * side), -128, 127}, {smooth}, {mean});
  linear_s8 own = {};
  own.lo = -128;
  own.hi = 127;
  plan.add(own, {mean, d.weight, d.bias, d.multiplier}, {logits});
  plan.add(softmax_s8{1.0 / 128}, {logits, plan.constant(type::s32, {256}, softmax_table())}, {chances});
  plan.add(dequantize{0, 0}, {chances}, {odds});
  return plan.bytes();
}

Bytes recurrent_net() {
  PlanWriter plan;
  Random random;
  const i64 units = 8;
  const PlanWriter::Sizes sequence = {1, 1, units}, state = {1, units};
  const auto kept = plan::storage::state;
  const View x = plan.input(sequence), y = plan.output(sequence), z = plan.output(sequence);
  const View h = plan.region(state, type::s8, 0, kept), h2 = plan.region(state, type::s8, 0, kept),
             cell = plan.region(state, type::f32, 0, kept), next = plan.region(sequence), next2 = plan.region(sequence),
             next_cell = plan.region(state, type::f32);
  const Layer gru = layer(plan, random, {3 * units, units}, 3 * units),
              lstm = layer(plan, random, {4 * units, units}, 4 * units);
  const View tables = plan.constant(type::s8, {4, 256}, random.bytes(1024)),
             more = plan.constant(type::s8, {5, 256}, random.bytes(1280)),
             ratios = plan.constant(type::f32, {11}, random.reals(11, 0.25f, 1.0f)),
             others = plan.constant(type::f32, {13}, random.reals(13, 0.25f, 1.0f));
  const PlanWriter::Sizes step = {units, 1};
  plan.add(gru_s8{0, 0}, {x, x, x, h, gru.weight, gru.bias, gru.multiplier, tables, ratios}, {next});
  plan.add(copy{0, 0}, {plan.view(next, state, step)}, {h});
  plan.add(lstm_s8{0, 0}, {next, next, next, next, h2, cell, lstm.weight, lstm.bias, lstm.multiplier, more, others},
           {next2, next_cell});
  plan.add(copy{0, 0}, {plan.view(next2, state, step)}, {h2});
  plan.add(copy{0, 0}, {next_cell}, {cell});
  plan.add(copy{0, 0}, {next}, {y});
  plan.add(copy{0, 0}, {next2}, {z});
  return plan.bytes();
}

Bytes table_net() {
  PlanWriter plan;
  Random random;
  const View index = plan.input({4}, type::s64), y = plan.output({4, 16});
  plan.add(take{0, 0}, {plan.constant(type::s8, {7, 16}, random.bytes(112)), index}, {y});
  return plan.bytes();
}

Bytes pieces_net() {
  PlanWriter plan;
  Random random;
  const PlanWriter::Sizes rows = {4, 16};
  const auto fresh = [&] { return plan.region(rows); };
  const View x = plan.input(rows), y = plan.output({8, 16});
  const View sum = fresh(), product = fresh(), larger = fresh(), least = plan.region({4, 1}), gathered = fresh(),
             layered = fresh(), rooted = fresh(), unit = fresh(), square = plan.region({4, 4}), picked = fresh(),
             marked = fresh(), wide = plan.region({1, 4, 4, 8}), both = plan.region({8, 16}), chances = fresh();
  plan.add(fill{3, 0}, {}, {marked});
  plan.add(copy{0, 0}, {x}, {picked}, plan::kConcurrent);
  plan.add(add_s8{0.5f, 0.75f, -128, 127}, {x, plan.constant(type::s8, {16}, random.bytes(16))}, {sum});
  plan.add(mul_s8{0.01f, -128, 127, 0}, {sum, marked}, {product});
  plan.add(mul_s8{0.01f, -128, 127, 0}, {product, x}, {product});  // in place
  plan.add(choose_s8{0, 0}, {product, sum}, {larger});
  plan.add(extremum_s8{2, 1}, {larger}, {least});
  std::vector<std::int32_t> index = random.words(64, 32);
  for (auto& one : index) one = one < -30 ? -1 : one + 31;
  plan.add(gather{-7, 0}, {larger, plan.constant(type::s32, rows, index)}, {gathered});
  const View gain = plan.constant(type::f32, {16}, random.reals(16, 1, 30)),
             offset = plan.constant(type::f32, {16}, random.reals(16, -5, 5));
  plan.add(layer_norm_s8{0.05, 1e-5}, {gathered, gain, offset}, {layered});
  plan.add(rms_norm_s8{0.05, 1e-5}, {layered, gain}, {rooted});
  plan.add(l2_norm_s8{0.05, 1.0 / 128, 1e-12}, {rooted}, {unit});
  plan.add(matmul_s8{0.01f, -128, 127, 0}, {unit, plan.constant(type::s8, {16, 4}, random.bytes(64))}, {square});
  const View groups = plan.constant(type::f32, {4}, random.reals(4, 1, 30)),
             shifts = plan.constant(type::f32, {4}, random.reals(4, -5, 5));
  plan.add(group_norm_s8{0.05, 1e-5, 2, 0}, {plan.view(square, {1, 4, 4}, {16, 4, 1}), groups, shifts},
           {plan.view(marked, {1, 4, 4}, {16, 4, 1})});
  const Layer up = layer(plan, random, {4, 8, 2, 2}, 8);
  plan.add(conv_transpose2d_s8{2, 2, 0, 0, 1, 1, 1, -128, 127, 0},
           {plan.view(square, {1, 2, 2, 4}, {16, 8, 4, 1}), up.weight, up.bias, up.multiplier}, {wide});
  std::vector<std::uint8_t> mask(64);
  for (auto& one : mask) one = random.draw() % 4 != 0;
  plan.add(softmax_s8{1.0 / 128},
           {plan.view(wide, rows, {16, 1}), plan.constant(type::s32, {256}, softmax_table()),
            plan.constant(type::boolean, rows, mask)},
           {chances});
  linear_s8 own = {};
  own.lo = own.sum_lo = -128;
  own.hi = own.sum_hi = 127;
  own.ratio = own.residual_ratio = 0.5f;
  const Layer dense = layer(plan, random, {16, 16}, 16);
  plan.add(own, {chances, dense.weight, dense.bias, dense.multiplier, unit}, {plan.view(both, rows, {16, 1})});
  // Side by side in one region: a joined tensor.
  plan.add(lut_s8{1, 0}, {rooted, plan.constant(type::s8, {16, 256}, random.bytes(4096))},
           {plan.view(both, rows, {16, 1}, 64)}, plan::kConcurrent);
  plan.add(copy{0, 0}, {both}, {y});
  plan.add(add_s8{1, 1, -128, 127}, {plan.view(y, rows, {16, 1}), least}, {plan.view(y, rows, {16, 1})});
  plan.add(softmax_s8{1.0 / 128}, {picked, plan.constant(type::s32, {256}, softmax_table()), kNone}, {marked});
  return plan.bytes();
}

const std::vector<Net>& nets() {
  static const std::vector<Net> all = {{"image", [] { return image_net(8); }},
                                       {"recurrent", recurrent_net},
                                       {"table", table_net},
                                       {"pieces", pieces_net},
                                       {"floats", floats_net},
                                       {"islands", islands_net}};
  return all;
}

}  // namespace edgekit::test
