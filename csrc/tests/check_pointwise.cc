// Words that look at one value, or at two: pairs that broadcast, sums, tables and quantisation.
#include <functional>

#include "check.h"

namespace edgekit::test {

namespace {

broadcast some_shape(std::int64_t& in_a, std::int64_t& in_b, std::int64_t& out) {
  broadcast shape = {};
  shape.dims = static_cast<int>(draw(1, 3));
  in_a = in_b = out = 1;
  for (int d = shape.dims - 1; d >= 0; --d) {
    shape.size[d] = draw(1, d == shape.dims - 1 ? 300 : 5);
    shape.step_a[d] = draw() % 4 ? in_a : 0;
    shape.step_b[d] = draw() % 4 ? in_b : 0;
    shape.step_out[d] = out;
    if (shape.step_a[d]) in_a *= shape.size[d];
    if (shape.step_b[d]) in_b *= shape.size[d];
    out = (out * shape.size[d]) + (d ? draw(0, 9) : 0);  // gaps between rows of the result
  }
  return shape;
}

template <class Args>
void pointwise(
    const Kernel& kernel,
    const std::function<Args(const std::int8_t*, const std::int8_t*, std::int8_t*, const broadcast&)>& make) {
  for (int i = 0; i < 600; ++i) {
    std::int64_t in_a, in_b, out;
    const broadcast shape = some_shape(in_a, in_b, out);
    const std::uint8_t by = kernel.flags & kFlips && draw() & 1 ? 0x80 : 0;
    Guarded a(in_a, 0, true), b(in_b, 0, false), y(out, 0, true);
    std::vector<std::int8_t> want(out, 77);
    fill(a.bytes(), in_a, i % 5 == 0);
    fill(b.bytes(), in_b, i % 5 == 0);
    Args args = make(a.bytes(), b.bytes(), want.data(), shape);
    run_parts(reference<Args>(), args, 1);
    flip(a.bytes(), in_a, by);
    flip(b.bytes(), in_b, by);
    std::memset(y.bytes(), 77 ^ by, out);
    args.out = y.bytes();
    args.flip = by;
    run_parts(kernel, args, parts_of(kernel));
    flip(y.bytes(), out, by);
    verdict(kernel, !std::memcmp(want.data(), y.bytes(), out), "a pointwise shape of " + std::to_string(out));
  }
}

// One dimension of x, drawn, runs fastest in out, and the others follow each other as in x. Gaps stay between some of
// them, and between all values where the least step is not 1.
axes some_turn() {
  axes along = {};
  along.dims = static_cast<int>(draw(1, 4));
  const int last = along.dims - 1, turned = static_cast<int>(draw(0, last));
  std::int64_t step = draw() % 8 ? 1 : draw(2, 5);
  for (int d = 0; d <= last; ++d) along.size[d] = draw(1, d == last ? 40 : 6);
  if (draw() % 3 == 0) along.size[last] = draw(1, 600);
  along.step[turned] = step;
  step = step * along.size[turned] + (draw() % 8 ? 0 : draw(1, 3));
  for (int d = last; d >= 0; --d) {
    if (d == turned) continue;
    along.step[d] = step;
    step = step * along.size[d] + (draw() & 1 ? 0 : draw(1, 9));
  }
  return along;
}

// Up to the last value and no further.
std::int64_t extent_of(const axes& along) {
  std::int64_t bytes = 1;
  for (int d = 0; d < along.dims; ++d) bytes += (along.size[d] - 1) * along.step[d];
  return bytes;
}

void fill_real(float* to, std::int64_t count) {
  const float odd[] = {0.0f, -0.0f, 1e38f, -1e38f, __builtin_inff(), -__builtin_inff(), __builtin_nanf(""),
                       0.5f, 1.5f,  -2.5f};
  for (std::int64_t i = 0; i < count; ++i)
    to[i] = draw() % 8 ? (static_cast<float>(draw(-3000, 3000)) / 16.0f) : odd[draw() % 10];
}

}  // namespace

void additions(const Kernel& kernel, Sweep) {
  pointwise<add_s8_args>(kernel, [](const std::int8_t* a, const std::int8_t* b, std::int8_t* out, const broadcast& s) {
    const float ratios[] = {1.0f, 0.5f, 0.3333333f, -1.25f, 1048576.0f, 9.5367431640625e-07f};
    return add_s8_args{a, b, out, s, ratios[draw() % 6], ratios[draw() % 6], some_bounds(), 0};
  });
}

void multiplications(const Kernel& kernel, Sweep) {
  pointwise<mul_s8_args>(kernel, [](const std::int8_t* a, const std::int8_t* b, std::int8_t* out, const broadcast& s) {
    const float multipliers[] = {0.01f, 0.5f, 1e-30f, 3e38f};
    return mul_s8_args{a, b, out, s, multipliers[draw() % 4], some_bounds(), 0};
  });
}

void sums(const Kernel& kernel, Sweep) {
  for (int i = 0; i < 300; ++i) {
    const std::int64_t images = draw(1, 3), rows = draw(1, 5), columns = draw(1, 20), channels = draw(1, 200);
    const std::int64_t row = (columns + draw(0, 2)) * channels, in = images * rows * row;
    Guarded x(in, 0, true), y(images * channels, 0, true);
    std::vector<std::int8_t> want(images * channels);
    fill(x.bytes(), in, i % 5 == 0);
    const std::uint8_t by = kernel.flags & kFlips && draw() & 1 ? 0x80 : 0;
    sum_s8_args args = {x.bytes(),
                        want.data(),
                        {2, {images, channels}, {rows * row, 1}},
                        {2, {rows, columns}, {row, channels}},
                        1.3f / static_cast<float>(rows * columns),
                        some_bounds(),
                        0};
    if (i % 4 == 0) args.reduced.dims = static_cast<int>(draw(0, 1));
    run_parts(reference<sum_s8_args>(), args, 1);
    flip(x.bytes(), in, by);
    args.out = y.bytes();
    args.flip = by;
    run_parts(kernel, args, parts_of(kernel));
    flip(y.bytes(), want.size(), by);
    verdict(kernel, !std::memcmp(want.data(), y.bytes(), want.size()),
            "a sum over " + std::to_string(rows) + "x" + std::to_string(columns));
  }
}

void tables(const Kernel& kernel, Sweep) {
  for (int i = 0; i < 300; ++i) {
    const std::int64_t outer = draw(1, 4), inner = draw(1, 300), gap = draw() & 1 ? draw(0, 20) : 0;
    const std::int64_t size = outer * (inner + gap);
    Guarded x(size, 0, true), y(size, 0, true);
    std::vector<std::int8_t> want(size, 77), table(256);
    fill(x.bytes(), size, false);
    fill(table.data(), 256, false);
    const std::uint8_t by = kernel.flags & kFlips && draw() & 1 ? 0x80 : 0;
    lut_s8_args args = {x.bytes(), table.data(), want.data(), outer, 1, inner, inner + gap, inner + gap, 0};
    if (kernel.refuses(&args)) return;
    run_parts(reference<lut_s8_args>(), args, 1);
    flip(x.bytes(), size, by);
    std::memset(y.bytes(), 77 ^ by, size);
    args.out = y.bytes();
    args.flip = by;
    run_parts(kernel, args, parts_of(kernel));
    flip(y.bytes(), size, by);
    verdict(kernel, !std::memcmp(want.data(), y.bytes(), size), "a table of " + std::to_string(inner));
  }
}

void quantisations(const Kernel& kernel, Sweep sweep) {
  for (int i = 0; i < (sweep == Sweep::reduced ? 400 : 2000); ++i) {
    const axes along = some_turn();
    const std::int64_t size = count_of(along), bytes = extent_of(along);
    Guarded x(size * 4, 0, true), y(bytes, 0, i % 4 != 0);
    auto* real = reinterpret_cast<float*>(x.bytes());
    fill_real(real, size);
    const float scale = i % 3 ? 0.37f : 1.0f;
    std::vector<std::int8_t> want(bytes, 77);
    const std::uint8_t by = kernel.flags & kFlips && draw() & 1 ? 0x80 : 0;
    quantize_s8_args args = {real, &scale, want.data(), along, 1, some_bounds(), 0};
    run_parts(reference<quantize_s8_args>(), args, 1);
    std::memset(y.bytes(), 77 ^ by, bytes);
    args.out = y.bytes();
    args.flip = by;
    run_parts(kernel, args, parts_of(kernel));
    flip(y.bytes(), bytes, by);
    verdict(kernel, !std::memcmp(want.data(), y.bytes(), bytes), "a quantisation of " + std::to_string(size));
  }
}

}  // namespace edgekit::test
