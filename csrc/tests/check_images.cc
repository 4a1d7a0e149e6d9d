// conv2d_s8 and the pools: windows of every kind on images with and without gaps.
#include "check.h"

namespace edgekit::test {

namespace {

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

// Results go into images with a margin, where nothing may be written; dense rows, and pixels with others between them,
// are cases of their own.

void convolution(const Kernel& kernel, const Window& w, bool extreme) {
  const extent size = out_size(w);
  if (size.height < 1 || size.width < 1) return;
  const std::int64_t fan_in = w.in_channels / w.groups * w.kernel.height * w.kernel.width;
  const Weights weights(w.out_channels, fan_in, extreme);
  const std::int64_t edge = draw() & 1;
  const extent halo = {w.in.height + 2 * w.padding.height, w.in.width + 2 * w.padding.width},
               margin = {size.height + 2, size.width + 2 * edge};
  const std::int64_t gap = draw() % 4 ? 0 : draw(1, 20);  // bytes of others between pixels
  const steps x_step = channels_last(w.in_channels + (draw() & 1 ? gap : 0), halo),
              y_step = channels_last(w.out_channels + gap, margin);
  const std::size_t in = w.images * x_step.image, out = w.images * y_step.image;
  const bool end = draw() & 1, adds = draw() % 4 == 0;
  const std::uint8_t by = kernel.flags & kBiased ? 0x80 : 0;
  std::vector<std::int8_t> plain(in, 0), want(out, 77), added_plain(out);
  fill(added_plain.data(), out, extreme);
  const std::int64_t first = w.padding.height * x_step.row + w.padding.width * x_step.column;
  for (std::int64_t image = 0; image < w.images; ++image)
    for (std::int64_t row = 0; row < w.in.height; ++row)
      fill(plain.data() + first + image * x_step.image + row * x_step.row, w.in.width * x_step.column, extreme);
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
  const bool side_by_side = depthwise && draw() % 3 == 0;
  w.groups = side_by_side ? few[draw() % 5] : depthwise ? draw(2, 150) : draw() % 3 == 0 ? draw(1, 5) : 1;
  w.in_channels = depthwise ? w.groups : w.groups * draw(1, draw() % 3 ? 20 : 70);
  w.out_channels = depthwise ? w.groups : w.groups * draw(1, draw() % 3 ? 20 : 70);
  w.kernel = {draw(1, 5), draw(1, draw() % 4 ? 5 : 11)};
  if (depthwise && draw() % 2) w.kernel.height = 3;  // three rows have functions of their own
  if (draw() % 2) w.kernel = {3, 3};
  w.stride = {draw() % 2 ? 1 : draw(1, 3), draw() % 2 ? 1 : draw(1, 3)};
  w.padding = {draw(0, w.kernel.height), draw(0, w.kernel.width)};
  w.dilation = {draw() % 4 ? 1 : draw(1, 3), draw() % 4 ? 1 : draw(1, 3)};
  w.in = {draw(1, 17), draw(1, side_by_side ? 80 : 17)};
  return w;
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

}  // namespace

void convolutions(const Kernel& kernel, Sweep sweep) {
  const int count = sweep == Sweep::full ? 20000 : sweep == Sweep::usual ? 1500 : 150;
  for (int i = 0; i < count; ++i) convolution(kernel, some_window(i % 2 == 0), i % 5 == 0);
  convolution(kernel, {1, 3, 64, 1, {40, 40}, {7, 7}, {2, 2}, {3, 3}, {1, 1}}, false);
  // Three rows, whose results share columns by threes, not by twos; and x ends where the last window does.
  for (int i = 0; i < 8; ++i) convolution(kernel, {1, 115, 115, 115, {5, 13}, {3, 2}, {1, 1}, {1, 0}, {1, 1}}, false);
  convolution(kernel, {1, 520, 520, 1, {9, 9}, {3, 3}, {1, 1}, {1, 1}, {1, 1}}, false);
}

void average_pools(const Kernel& kernel, Sweep) {
  pools<avg_pool_s8_args>(kernel);
}

void largest_pools(const Kernel& kernel, Sweep) {
  pools<max_pool_s8_args>(kernel);
}

}  // namespace edgekit::test
