#include "../engine/functions.h"
#include "nets.h"
#include "random.h"

namespace edgekit::test {

namespace {

using namespace plan::attributes;
using plan::type;
using View = PlanWriter::View;

template <class Function>
u32 number(Function function) {
  return static_cast<u32>(function);
}

View weights(PlanWriter& plan, Random& random, const PlanWriter::Sizes& size, float most = 0.5f) {
  i64 count = 1;
  for (const i64 one : size) count *= one;
  return plan.constant(type::f32, size, random.reals(count, -most, most));
}

// Every function of one value, each on what the one before gave, where that is a number.
View functions(PlanWriter& plan, View x, const PlanWriter::Sizes& size) {
  const View low = plan.constant(type::f32, {}, std::vector<float>{0.0625f}),
             high = plan.constant(type::f32, {}, std::vector<float>{1.5f});
  const View held = plan.region(size, type::f32), real = plan.region(size, type::boolean);
  for (u32 i = 0; i < number(plan::unary::count); ++i) {
    plan.add(binary{number(plan::binary::max), 0}, {i ? held : x, low}, {held});
    plan.add(binary{number(plan::binary::min), 0}, {held, high}, {held});
    plan.add(unary_f32{i, 0}, {held}, {held});
    plan.add(compare{number(plan::comparison::eq), 0}, {held, held}, {real});
    plan.add(select{0, 0}, {real, held, low}, {held});
  }
  return held;
}

}  // namespace

Bytes floats_net() {
  PlanWriter plan;
  Random random;
  const PlanWriter::Sizes rows = {4, 16}, column = {4, 1}, line = {1, 16};
  const View x = plan.input(rows, type::f32), index = plan.input(column, type::s64),
             mask = plan.input(rows, type::boolean), y = plan.output({8, 16}, type::f32),
             places = plan.output(column, type::s64), chosen = plan.output(rows, type::boolean),
             bytes = plan.output(rows, type::u8);
  const View many = plan.region(rows, type::f32), more = plan.region(rows, type::f32),
             truth = plan.region(rows, type::boolean), other = plan.region(rows, type::boolean),
             wide = plan.region(rows, type::s64), narrow = plan.region(rows, type::s32),
             most = plan.region(column, type::f32), mean = plan.region(line, type::f32),
             sum = plan.region(column, type::s64), any = plan.region(column, type::boolean),
             both = plan.region({8, 16}, type::f32), turned = plan.region({16, 4}, type::f32);
  const View vector = weights(plan, random, {16}), zero = plan.constant(type::s64, {}, std::vector<i64>{0});
  plan.add(compare{number(plan::comparison::ne), 0}, {x, x}, {truth});  // NaN
  plan.add(select{0, 0}, {truth, vector, x}, {many});
  for (u32 i = 0; i < number(plan::binary::pow); ++i) plan.add(binary{i, 0}, {many, vector}, {many});
  const View positive = functions(plan, many, rows);
  plan.add(unary_f32{number(plan::unary::abs), 0}, {positive}, {positive});
  plan.add(binary{number(plan::binary::pow), 0}, {positive, vector}, {more});
  plan.add(reduce{2, number(plan::reduction::max)}, {more}, {most});
  plan.add(reduce{1, number(plan::reduction::mean)}, {more}, {mean});
  plan.add(binary{number(plan::binary::sub), 0}, {more, most}, {more});
  plan.add(binary{number(plan::binary::div), 0}, {more, mean}, {more});
  plan.add(cast{0, 0}, {more}, {wide});
  plan.add(binary{number(plan::binary::mul), 0}, {wide, index}, {wide});
  plan.add(binary{number(plan::binary::add), 0}, {wide, index}, {wide});
  plan.add(compare{number(plan::comparison::gt), 0}, {wide, zero}, {truth});
  plan.add(binary{number(plan::binary::max), 0}, {truth, mask}, {other});
  plan.add(cast{0, 0}, {wide}, {narrow});
  plan.add(binary{number(plan::binary::min), 0}, {narrow, narrow}, {narrow});
  plan.add(cast{0, 0}, {narrow}, {bytes});
  plan.add(reduce{2, number(plan::reduction::sum)}, {wide}, {sum});
  plan.add(reduce{2, number(plan::reduction::argmin)}, {more}, {places});
  plan.add(reduce{2, number(plan::reduction::min)}, {other}, {any});
  plan.add(compare{number(plan::comparison::ge), 0}, {other, any}, {chosen});
  plan.add(select{0, 0}, {chosen, more, many}, {more});  // in place
  // Movers on elements of four and eight bytes.
  plan.add(copy{0, 0}, {plan.view(more, {16, 4}, {1, 16})}, {turned});
  plan.add(copy{0, 0}, {plan.view(turned, rows, {16, 1})}, {plan.view(both, rows, {16, 1})});
  std::vector<std::int32_t> picks = random.words(64, 32);
  for (auto& one : picks) one = one < -30 ? -1 : one + 31;
  plan.add(gather{0, 0}, {turned, plan.constant(type::s32, rows, picks)}, {plan.view(both, rows, {16, 1}, 64)});
  plan.add(copy{0, 0}, {both}, {y});
  plan.add(binary{number(plan::binary::add), 0}, {places, sum}, {places});
  return plan.bytes();
}

Bytes islands_net() {
  PlanWriter plan;
  Random random;
  const i64 units = 5, steps = 9;
  const View x = plan.input({1, 4, 8, 8}, type::s8, 0.03f), q = plan.output({steps, 1, units}, type::s8, 0.01f),
             odds = plan.output({2, 3, 7}, type::f32), memory = plan.output({1, units}, type::f32);
  const PlanWriter::Sizes image = {1, 4, 1, 8, 8}, sequence = {steps, 1, units}, state = {1, units};
  const auto reals = [&](const PlanWriter::Sizes& size) { return plan.region(size, type::f32); };
  const View in = reals({1, 4, 8, 8}), wide = reals({1, 6, 1, 8, 8}), deep = reals({1, 6, 1, 8, 8}),
             flat = reals({1, 18, 1, 8, 8}), half = reals({1, 18, 1, 3, 4}), smooth = reals({1, 18, 1, 3, 4});
  plan.add(dequantize{0, 0}, {x}, {in});
  conv_f32 own = {1, 1, 1, 0, 1, 1, 1, 1, 1, 1};
  plan.add(
      own,
      {plan.view(in, image, {256, 64, 64, 8, 1}), weights(plan, random, {6, 4, 1, 3, 3}), weights(plan, random, {6})},
      {wide});
  own.groups = 6;
  own.dilation_height = own.pad_height = 2;
  plan.add(own, {wide, weights(plan, random, {6, 1, 1, 3, 3})}, {deep});
  const conv_f32 point = {1, 1, 1, 0, 0, 0, 1, 1, 1, 1};
  plan.add(point, {deep, weights(plan, random, {18, 6, 1, 1, 1}), weights(plan, random, {18})}, {flat});
  const pool_f32 pool = {1, 3, 2, 1, 3, 2, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0};
  plan.add(pool, {flat}, {half});
  pool_f32 average = {1, 3, 3, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0};
  plan.add(average, {half}, {smooth});
  // 216 values as matrices: [2, 3, 36] by [36, 7], the bias behind it.
  plan.add(matmul_f32{0, 0},
           {plan.view(smooth, {2, 3, 36}, {108, 36, 1}), weights(plan, random, {36, 7}), weights(plan, random, {7})},
           {odds});
  const View rows = reals({steps, 3 * units}), parts = reals({3 * steps, 1, units}), h = reals(sequence),
             again = reals(sequence);
  plan.add(matmul_f32{0, 0}, {plan.view(smooth, {steps, 24}, {24, 1}), weights(plan, random, {24, 3 * units})}, {rows});
  plan.add(copy{0, 0}, {plan.view(rows, {3, steps, units}, {units, 3 * units, 1})},
           {plan.view(parts, {3, steps, units}, {steps * units, units, 1})});
  const auto gate = [&](i64 i) { return plan.view(parts, sequence, {units, units, 1}, i * steps * units); };
  const View start = weights(plan, random, state);
  plan.add(
      gru_f32{1, 0},
      {gate(0), gate(1), gate(2), start, weights(plan, random, {units, 3 * units}), weights(plan, random, {3 * units})},
      {h});
  plan.add(lstm_f32{0, 0},
           {h, gate(0), gate(1), gate(2), start, start, weights(plan, random, {units, 4 * units}),
            weights(plan, random, {4 * units})},
           {again, memory});
  plan.add(quantize_s8{0, -128, 127, 0}, {again}, {q});
  return plan.bytes();
}

}  // namespace edgekit::test
