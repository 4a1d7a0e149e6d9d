// Every fast kernel of kernels.def that this machine runs against `ref`, by the byte: all small products, convolutions
// of every kind, every number of parts, between guard pages, at extremes. Native, and under an emulator of another
// machine.
//
//   kernels_test [--isa ISA] [--op OPERATOR] [--full]      --full: all 299,520 products up to 48 x 48 x 130
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "../dispatch.h"
#include "guarded.h"

namespace edgekit::test {
namespace {

constexpr std::size_t kSlack = 64;  // as engine/plan.h promises to kernels
std::uint64_t state = 88172645463325252ull;
long checked = 0, wrong = 0;

std::uint32_t draw() {  // xorshift64
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return static_cast<std::uint32_t>(state >> 32);
}

std::int64_t draw(std::int64_t least, std::int64_t most) {
  return least + static_cast<std::int64_t>(draw() % static_cast<std::uint64_t>(most - least + 1));
}

void fill(std::int8_t* to, std::int64_t count, bool extreme, int least = -128) {
  for (std::int64_t i = 0; i < count; ++i) {
    const int q = extreme ? (draw() & 1 ? 127 : least) : static_cast<int>(draw(least, 127));
    to[i] = static_cast<std::int8_t>(q);
  }
}

struct Weights {
  std::vector<std::int8_t> weight;
  std::vector<std::int32_t> bias;
  std::vector<float> multiplier;

  Weights(std::int64_t features, std::int64_t fan_in, bool extreme)
      : weight(features * fan_in), bias(features), multiplier(features) {
    fill(weight.data(), features * fan_in, extreme, -127);
    const std::int32_t ends[] = {INT32_MIN, INT32_MAX, 0, 1};
    for (std::int64_t o = 0; o < features; ++o) {
      bias[o] = extreme && o % 3 == 0 ? ends[draw() % 4] : static_cast<std::int32_t>(draw(-40000, 40000));
      const float usual = 0.02f / (1.0f + static_cast<float>(draw() % 64));
      const float odd[] = {1e-7f, 1.0f, 0.5f, 1e30f};
      multiplier[o] = extreme && o % 2 == 0 ? odd[draw() % 4] : usual;
    }
  }
};

bounds some_bounds() {
  const bounds all[] = {{-128, 127}, {0, 127}, {0, 96}, {-5, 5}, {-128, -128}};
  return all[draw() % 5];
}

void flip(std::int8_t* x, std::size_t count, std::uint8_t by) {
  for (std::size_t i = 0; i < count; ++i) x[i] = static_cast<std::int8_t>(x[i] ^ by);
}

template <class Args>
const Kernel& reference() {
  static const Kernel* found = &*std::find_if(kernels().begin(), kernels().end(), [](const Kernel& kernel) {
    return !std::strcmp(kernel.op, Args::op) && kernel.isa == Isa::ref;
  });
  return *found;
}

// Runs a kernel in `count` parts, the last first; each scribbles in memory of its own.
template <class Args>
void run_parts(const Kernel& kernel, Args& args, unsigned count) {
  std::vector<std::uint8_t> packed(kernel.packed(&args) + 64);
  if constexpr (std::is_same_v<Args, linear_s8_args> || std::is_same_v<Args, conv2d_s8_args>) {
    const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(packed.data());
    auto* aligned = packed.data() + (64 - address % 64) % 64;
    if (kernel.flags & kPacked) kernel.pack(&args, aligned);
    args.packed = aligned;
  }
  for (unsigned i = 0; i < count; ++i) {
    std::vector<std::uint64_t> scratch(kernel.scratch(&args) / 8 + 16);
    kernel.call(&args, part{count - 1 - i, count, scratch.data()});
  }
}

void verdict(const Kernel& kernel, bool same, const std::string& what) {
  ++checked;
  if (same) return;
  if (++wrong <= 20) std::printf("WRONG %s: %s\n", kernel.function, what.c_str());
}

unsigned parts_of(const Kernel& kernel) {
  return kernel.flags & kParts ? static_cast<unsigned>(draw(1, 8)) : 1;
}

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

struct Window {
  std::int64_t images, in_channels, out_channels, groups;
  extent in, kernel, stride, padding, dilation;
};

std::string text(const Window& w) {
  char line[200];
  std::snprintf(line, sizeof line,
                "%ldx%ldx%ldx%ld to %ld, groups %ld, kernel %ldx%ld, stride %ldx%ld, pad %ldx%ld, dilation %ldx%ld",
                static_cast<long>(w.images), static_cast<long>(w.in_channels), static_cast<long>(w.in.height),
                static_cast<long>(w.in.width), static_cast<long>(w.out_channels), static_cast<long>(w.groups),
                static_cast<long>(w.kernel.height), static_cast<long>(w.kernel.width),
                static_cast<long>(w.stride.height), static_cast<long>(w.stride.width),
                static_cast<long>(w.padding.height), static_cast<long>(w.padding.width),
                static_cast<long>(w.dilation.height), static_cast<long>(w.dilation.width));
  return line;
}

extent out_size(const Window& w) {
  const auto count = [](std::int64_t in, std::int64_t kernel, std::int64_t stride, std::int64_t pad,
                        std::int64_t dilation) { return (in + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1; };
  if (w.in.height + 2 * w.padding.height < w.dilation.height * (w.kernel.height - 1) + 1) return {0, 0};
  if (w.in.width + 2 * w.padding.width < w.dilation.width * (w.kernel.width - 1) + 1) return {0, 0};
  return {count(w.in.height, w.kernel.height, w.stride.height, w.padding.height, w.dilation.height),
          count(w.in.width, w.kernel.width, w.stride.width, w.padding.width, w.dilation.width)};
}

// Results go into images with a margin, where nothing may be written; dense rows are a case of their own.
void convolution(const Kernel& kernel, const Window& w, bool extreme) {
  const extent size = out_size(w);
  if (size.height < 1 || size.width < 1) return;
  const std::int64_t fan_in = w.in_channels / w.groups * w.kernel.height * w.kernel.width;
  const Weights weights(w.out_channels, fan_in, extreme);
  const std::int64_t edge = draw() & 1;
  const extent halo = {w.in.height + 2 * w.padding.height, w.in.width + 2 * w.padding.width},
               margin = {size.height + 2, size.width + 2 * edge};
  const steps x_step = channels_last(w.in_channels, halo), y_step = channels_last(w.out_channels, margin);
  const std::size_t in = w.images * x_step.image, out = w.images * y_step.image;
  const bool end = draw() & 1, adds = draw() % 4 == 0;
  const std::uint8_t by = kernel.flags & kBiased ? 0x80 : 0;
  std::vector<std::int8_t> plain(in, 0), want(out, 77), added_plain(out);
  fill(added_plain.data(), out, extreme);
  const std::int64_t first = w.padding.height * x_step.row + w.padding.width * x_step.column;
  for (std::int64_t image = 0; image < w.images; ++image)
    for (std::int64_t row = 0; row < w.in.height; ++row)
      fill(plain.data() + first + image * x_step.image + row * x_step.row, w.in.width * w.in_channels, extreme);
  Guarded x(in, kSlack, end), y(out, 0, end), added(out, 0, end);
  std::memcpy(x.bytes(), plain.data(), in);
  std::memcpy(y.bytes(), want.data(), out);
  std::memcpy(added.bytes(), added_plain.data(), out);
  flip(x.bytes(), in, by);
  flip(y.bytes(), out, by);
  flip(added.bytes(), out, by);
  const std::int64_t corner = y_step.row + edge * y_step.column;
  residual more = {};
  if (adds) more = {added_plain.data() + corner, y_step, 0.7f, 1.3f, (draw() & 1) != 0, some_bounds()};
  const steps weight_step = {fan_in, 1, w.kernel.width * (w.in_channels / w.groups), w.in_channels / w.groups};
  conv2d_s8_args args = {plain.data() + first,
                         x_step,
                         weights.weight.data(),
                         weight_step,
                         weights.bias.data(),
                         weights.multiplier.data(),
                         want.data() + corner,
                         y_step,
                         w.images,
                         w.in_channels,
                         w.out_channels,
                         w.groups,
                         w.in,
                         size,
                         w.kernel,
                         w.stride,
                         w.padding,
                         w.dilation,
                         some_bounds(),
                         more,
                         0,
                         nullptr};
  if (kernel.refuses(&args)) return;
  run_parts(reference<conv2d_s8_args>(), args, 1);
  args.x = x.bytes() + first;
  args.out = y.bytes() + corner;
  args.flip = by;
  if (adds) args.added.x = added.bytes() + corner;
  const unsigned parts = parts_of(kernel);
  run_parts(kernel, args, parts);
  flip(y.bytes(), out, by);
  verdict(kernel, !std::memcmp(want.data(), y.bytes(), out),
          text(w) + " in " + std::to_string(parts) + " parts" + (adds ? ", added" : "") + (extreme ? ", extreme" : ""));
}

Window some_window(bool depthwise) {
  Window w;
  w.images = draw(1, 2);
  const std::int64_t few[] = {2, 4, 8, 16, 32};  // channels of which several pixels fill a vector
  w.groups = depthwise ? (draw() % 3 ? draw(2, 150) : few[draw() % 5]) : draw() % 3 == 0 ? draw(1, 5) : 1;
  w.in_channels = depthwise ? w.groups : w.groups * draw(1, draw() % 3 ? 20 : 70);
  w.out_channels = depthwise ? w.groups : w.groups * draw(1, draw() % 3 ? 20 : 70);
  w.kernel = {draw(1, 5), draw(1, draw() % 4 ? 5 : 11)};
  if (draw() % 2) w.kernel = {3, 3};
  w.stride = {draw(1, 3), draw(1, 3)};
  w.padding = {draw(0, w.kernel.height), draw(0, w.kernel.width)};
  w.dilation = {draw() % 4 ? 1 : draw(1, 3), draw() % 4 ? 1 : draw(1, 3)};
  w.in = {draw(1, 17), draw(1, 17)};
  return w;
}

void products(const Kernel& kernel, bool full) {
  const std::int64_t most = full ? 48 : 17, deepest = full ? 130 : 67;
  for (std::int64_t rows = 1; rows <= most; ++rows)
    for (std::int64_t features = 1; features <= most; ++features)
      for (std::int64_t fan_in = 1; fan_in <= deepest; ++fan_in)
        linear(kernel, rows, features, fan_in, (rows + features + fan_in) % 5 == 0);
  for (const std::int64_t rows : {1, 15, 43})  // weights that do not stay in a cache, and the longest sum
    linear(kernel, rows, 517, 1291, rows == 15);
  linear(kernel, 2, 33, 131071, true);
}

void convolutions(const Kernel& kernel, bool full) {
  for (int i = 0; i < (full ? 20000 : 1500); ++i) convolution(kernel, some_window(i % 2 == 0), i % 5 == 0);
  convolution(kernel, {1, 3, 64, 1, {40, 40}, {7, 7}, {2, 2}, {3, 3}, {1, 1}}, false);
  convolution(kernel, {1, 520, 520, 1, {9, 9}, {3, 3}, {1, 1}, {1, 1}, {1, 1}}, false);
}

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

void additions(const Kernel& kernel) {
  pointwise<add_s8_args>(kernel, [](const std::int8_t* a, const std::int8_t* b, std::int8_t* out, const broadcast& s) {
    const float ratios[] = {1.0f, 0.5f, 0.3333333f, -1.25f, 1048576.0f, 9.5367431640625e-07f};
    return add_s8_args{a, b, out, s, ratios[draw() % 6], ratios[draw() % 6], some_bounds(), 0};
  });
}

void multiplications(const Kernel& kernel) {
  pointwise<mul_s8_args>(kernel, [](const std::int8_t* a, const std::int8_t* b, std::int8_t* out, const broadcast& s) {
    const float multipliers[] = {0.01f, 0.5f, 1e-30f, 3e38f};
    return mul_s8_args{a, b, out, s, multipliers[draw() % 4], some_bounds(), 0};
  });
}

void matrices(const Kernel& kernel) {
  for (int i = 0; i < 600; ++i) {
    const std::int64_t rows = draw(1, 40), fan_in = draw(1, 70), columns = draw(1, 70), outer = draw(1, 3),
                       inner = draw(1, 4);
    const bool again_a = draw() & 1, again_b = draw() & 1;  // one matrix for every index of `inner`
    matmul_s8_args args = {};
    args.batch = {
        2, {outer, inner}, {again_a ? 1 : inner, again_a ? 0 : 1}, {again_b ? 1 : inner, again_b ? 0 : 1}, {inner, 1}};
    const std::int64_t in_a = outer * (again_a ? 1 : inner) * rows * fan_in,
                       in_b = outer * (again_b ? 1 : inner) * fan_in * columns, out = outer * inner * rows * columns;
    Guarded a(in_a, kSlack, true), b(in_b, kSlack, true), y(out, 0, true);
    std::vector<std::int8_t> want(out);
    fill(a.bytes(), in_a, i % 5 == 0);
    fill(b.bytes(), in_b, i % 5 == 0);
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
}

template <class Args>
void pools(const Kernel& kernel) {
  for (int i = 0; i < 600; ++i) {
    Window w = some_window(false);
    w.out_channels = w.in_channels = draw(1, 150);
    w.padding = {std::min(w.padding.height, w.kernel.height / 2), std::min(w.padding.width, w.kernel.width / 2)};
    constexpr bool average = std::is_same_v<Args, avg_pool_s8_args>;
    if (average) w.dilation = {1, 1};
    const extent size = out_size(w);
    if (size.height < 1 || size.width < 1) continue;
    const steps x_step = channels_last(w.in_channels, w.in), y_step = channels_last(w.in_channels, size);
    const std::size_t in = w.images * x_step.image, out = w.images * y_step.image;
    const std::uint8_t by = kernel.flags & kFlips && draw() & 1 ? 0x80 : 0;
    Guarded x(in, 0, true), y(out, 0, true);
    std::vector<std::int8_t> want(out);
    fill(x.bytes(), in, i % 5 == 0);
    std::vector<float> multiplier(w.kernel.height * w.kernel.width + 1);
    for (std::size_t n = 1; n < multiplier.size(); ++n) multiplier[n] = 1.1f / static_cast<float>(n);
    Args args;
    if constexpr (average) {
      args = {x.bytes(), x_step, multiplier.data(), want.data(), y_step,    w.images,          w.in_channels,
              w.in,      size,   w.kernel,          w.stride,    w.padding, (draw() & 1) != 0, some_bounds(),
              0};
    } else {
      args = {x.bytes(), x_step,   want.data(), y_step,     w.images, w.in_channels, w.in, size,
              w.kernel,  w.stride, w.padding,   w.dilation, 0};
    }
    run_parts(reference<Args>(), args, 1);
    flip(x.bytes(), in, by);
    args.out = y.bytes();
    args.flip = by;
    run_parts(kernel, args, parts_of(kernel));
    flip(y.bytes(), out, by);
    verdict(kernel, !std::memcmp(want.data(), y.bytes(), out), text(w));
  }
}

void sums(const Kernel& kernel) {
  for (int i = 0; i < 300; ++i) {
    const std::int64_t images = draw(1, 3), area = draw(1, 60), channels = draw(1, 200), in = images * area * channels;
    Guarded x(in, 0, true), y(images * channels, 0, true);
    std::vector<std::int8_t> want(images * channels);
    fill(x.bytes(), in, i % 5 == 0);
    const std::uint8_t by = kernel.flags & kFlips && draw() & 1 ? 0x80 : 0;
    sum_s8_args args = {x.bytes(),
                        want.data(),
                        {2, {images, channels}, {area * channels, 1}},
                        {1, {area}, {channels}},
                        1.3f / static_cast<float>(area),
                        some_bounds(),
                        0};
    run_parts(reference<sum_s8_args>(), args, 1);
    flip(x.bytes(), in, by);
    args.out = y.bytes();
    args.flip = by;
    run_parts(kernel, args, parts_of(kernel));
    flip(y.bytes(), want.size(), by);
    verdict(kernel, !std::memcmp(want.data(), y.bytes(), want.size()), "a sum over " + std::to_string(area));
  }
}

void tables(const Kernel& kernel) {
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

void quantisations(const Kernel& kernel) {
  const float odd[] = {0.0f, -0.0f, 1e38f, -1e38f, __builtin_inff(), -__builtin_inff(), __builtin_nanf(""),
                       0.5f, 1.5f,  -2.5f};
  for (int i = 0; i < 300; ++i) {
    const std::int64_t size = draw(1, 400);
    Guarded x(size * 4, 0, true), y(size, 0, true);
    auto* real = reinterpret_cast<float*>(x.bytes());
    for (std::int64_t k = 0; k < size; ++k)
      real[k] = draw() % 8 ? (static_cast<float>(draw(-3000, 3000)) / 16.0f) : odd[draw() % 10];
    const float scale = i % 3 ? 0.37f : 1.0f;
    std::vector<std::int8_t> want(size);
    const std::uint8_t by = kernel.flags & kFlips && draw() & 1 ? 0x80 : 0;
    quantize_s8_args args = {real, &scale, want.data(), 1, 1, size, some_bounds(), 0};
    run_parts(reference<quantize_s8_args>(), args, 1);
    args.out = y.bytes();
    args.flip = by;
    run_parts(kernel, args, parts_of(kernel));
    flip(y.bytes(), size, by);
    verdict(kernel, !std::memcmp(want.data(), y.bytes(), size), "a quantisation of " + std::to_string(size));
  }
}

using Check = std::function<void(const Kernel&, bool)>;

Check check_of(const std::string& op) {
  if (op == "linear_s8") return products;
  if (op == "conv2d_s8") return convolutions;
  if (op == "matmul_s8") return [](const Kernel& kernel, bool) { matrices(kernel); };
  if (op == "add_s8") return [](const Kernel& kernel, bool) { additions(kernel); };
  if (op == "mul_s8") return [](const Kernel& kernel, bool) { multiplications(kernel); };
  if (op == "max_pool_s8") return [](const Kernel& kernel, bool) { pools<max_pool_s8_args>(kernel); };
  if (op == "avg_pool_s8") return [](const Kernel& kernel, bool) { pools<avg_pool_s8_args>(kernel); };
  if (op == "sum_s8") return [](const Kernel& kernel, bool) { sums(kernel); };
  if (op == "lut_s8") return [](const Kernel& kernel, bool) { tables(kernel); };
  if (op == "quantize_s8") return [](const Kernel& kernel, bool) { quantisations(kernel); };
  return nullptr;
}

}  // namespace
}  // namespace edgekit::test

int main(int count, char** words) {
  using namespace edgekit;
  std::string isa, op;
  bool full = false;
  for (int i = 1; i < count; ++i) {
    if (!std::strcmp(words[i], "--full")) full = true;
    if (!std::strcmp(words[i], "--isa") && i + 1 < count) isa = words[i + 1];
    if (!std::strcmp(words[i], "--op") && i + 1 < count) op = words[i + 1];
  }
  int tested = 0;
  for (const Kernel& kernel : kernels()) {
    if (!std::strcmp(kernel.op, "observe")) continue;  // of tensors of floats; tests/test_observe.py has it
    const bool wanted = isa.empty() ? kernel.isa != Isa::ref || (kernel.flags & kParts) : isa == name(kernel.isa);
    if (!op.empty() && op != kernel.op) continue;
    if (!wanted || !(isa_flags() & bit(kernel.isa))) continue;
    const test::Check check = test::check_of(kernel.op);
    if (!check) {
      if (kernel.isa == Isa::ref) continue;
      std::printf("NOT CHECKED %s\n", kernel.function);
      return 1;
    }
    const long before = test::checked;
    check(kernel, full);
    std::printf("%s: %ld checks\n", kernel.function, test::checked - before);
    ++tested;
  }
  std::printf("%d kernels, %ld checks, %ld wrong\n", tested, test::checked, test::wrong);
  return test::wrong || (!isa.empty() && !tested) ? 1 : 0;
}
