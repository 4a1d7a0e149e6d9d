// linear_s8 and matmul_s8: all small products, and weights that do not stay in a cache.
#include "check.h"

namespace edgekit::test {

namespace {

void linear(const Kernel& kernel, std::int64_t rows, std::int64_t features, std::int64_t fan_in, bool extreme) {
  const Weights w(features, fan_in, extreme);
  const std::size_t in = rows * fan_in, out = rows * features;
  const bool end = draw() & 1, adds = draw() % 4 == 0;
  Guarded x(in, kSlack, end), plain(in, 0, true), y(out, 0, end), added(out, 0, end), added_plain(out, 0, true);
  std::vector<std::int8_t> want(out);
  fill(plain.bytes(), in, extreme);
  fill(added_plain.bytes(), out, extreme);
  const std::uint8_t by = kernel.flags & kBiased ? 0x80 : 0;
  std::memcpy(x.bytes(), plain.bytes(), in);
  std::memcpy(added.bytes(), added_plain.bytes(), out);
  flip(x.bytes(), in, by);
  flip(added.bytes(), out, by);
  residual more = {};
  if (adds) more = {added_plain.bytes(), {0, 1, features, 0}, 0.7f, 1.3f, (draw() & 1) != 0, some_bounds()};
  linear_s8_args args = {plain.bytes(),
                         w.weight.data(),
                         w.bias.data(),
                         w.multiplier.data(),
                         want.data(),
                         rows,
                         fan_in,
                         features,
                         some_bounds(),
                         more,
                         0,
                         nullptr};
  run_parts(reference<linear_s8_args>(), args, 1);
  args.x = x.bytes();
  args.out = y.bytes();
  args.flip = by;
  if (adds) args.added.x = added.bytes();
  const unsigned parts = parts_of(kernel);
  run_parts(kernel, args, parts);
  flip(y.bytes(), out, by);
  verdict(kernel, !std::memcmp(want.data(), y.bytes(), out),
          std::to_string(rows) + "x" + std::to_string(features) + "x" + std::to_string(fan_in) + " in " +
              std::to_string(parts) + " parts" + (adds ? ", added" : ""));
}

void product_of_two(const Kernel& kernel, std::int64_t rows, std::int64_t columns, std::int64_t fan_in, bool extreme) {
  const std::int64_t outer = draw(1, 3), inner = draw(1, 4);
  const bool again_a = draw() & 1, again_b = draw() & 1;  // one matrix for every index of `inner`
  matmul_s8_args args = {};
  args.batch = {
      2, {outer, inner}, {again_a ? 1 : inner, again_a ? 0 : 1}, {again_b ? 1 : inner, again_b ? 0 : 1}, {inner, 1}};
  const std::int64_t in_a = outer * (again_a ? 1 : inner) * rows * fan_in,
                     in_b = outer * (again_b ? 1 : inner) * fan_in * columns, out = outer * inner * rows * columns;
  Guarded a(in_a, kSlack, true), b(in_b, 0, (draw() & 1) != 0), y(out, 0, true);
  std::vector<std::int8_t> want(out);
  fill(a.bytes(), in_a, extreme);
  fill(b.bytes(), in_b, extreme);
  args.a = a.bytes();
  args.b = b.bytes();
  args.out = want.data();
  args.rows = rows;
  args.fan_in = fan_in;
  args.columns = columns;
  const float multipliers[] = {0.001f, 0.02f, 1e-30f, 3e38f};
  args.multiplier = multipliers[draw() % 4];
  args.limit = some_bounds();
  run_parts(reference<matmul_s8_args>(), args, 1);
  const std::uint8_t by = kernel.flags & kBiased ? 0x80 : 0;
  flip(a.bytes(), in_a, by);
  flip(b.bytes(), in_b, by);
  args.out = y.bytes();
  args.flip = by;
  run_parts(kernel, args, parts_of(kernel));
  flip(y.bytes(), out, by);
  verdict(kernel, !std::memcmp(want.data(), y.bytes(), out),
          std::to_string(rows) + "x" + std::to_string(columns) + "x" + std::to_string(fan_in));
}

}  // namespace

void products(const Kernel& kernel, Sweep sweep) {
  const bool full = sweep == Sweep::full;
  const std::int64_t most = full ? 48 : 17, deepest = full ? 130 : 67, stride = sweep == Sweep::reduced ? 11 : 1;
  for (std::int64_t rows = 1; rows <= most; ++rows)
    for (std::int64_t features = 1; features <= most; ++features)
      for (std::int64_t fan_in = 1 + (rows + features) % stride; fan_in <= deepest; fan_in += stride)
        linear(kernel, rows, features, fan_in, (rows + features + fan_in) % 5 == 0);
  for (std::int64_t features = 1; features <= 70; ++features)  // one window has ways of its own
    for (std::int64_t fan_in = 1 + features % stride; fan_in <= 67; fan_in += stride)
      linear(kernel, 1, features, fan_in, (features + fan_in) % 5 == 0);
  for (const std::int64_t rows : {1, 15, 43})  // weights that do not stay in a cache, and the longest sum
    linear(kernel, rows, 517, 1291, rows == 15);
  linear(kernel, 2, 33, 131071, true);
}

void matrices(const Kernel& kernel, Sweep sweep) {
  for (int i = 0; i < 600; ++i) product_of_two(kernel, draw(1, 40), draw(1, 70), draw(1, 70), i % 5 == 0);
  const std::int64_t stride = sweep == Sweep::reduced ? 11 : 1;
  for (std::int64_t columns = 1; columns <= 70; ++columns)  // every way in which the second matrix can be packed
    for (std::int64_t fan_in = 1 + columns % stride; fan_in <= 130; fan_in += stride)
      product_of_two(kernel, 1 + fan_in % 3, columns, fan_in, (columns + fan_in) % 5 == 0);
  product_of_two(kernel, 2, 33, 131071, true);
}

}  // namespace edgekit::test
