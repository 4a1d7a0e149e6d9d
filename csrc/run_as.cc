// Arrays as numpy and torch have them for kernels that want another layout: copied in, run, copied back.
#include <algorithm>

#include "buffer.h"
#include "dispatch.h"

namespace edgekit {

namespace {

std::uint8_t flip_of(const Kernel& kernel) {
  return kernel.flags & kBiased ? 0x80 : 0;
}

template <class Args>
Buffer packed(const Kernel& kernel, Args& args) {
  Buffer buffer(kernel.packed(&args));
  if (kernel.flags & kPacked) {
    kernel.pack(&args, buffer.bytes());
    args.packed = buffer.bytes();
  }
  return buffer;
}

template <class Args>
void run_packed(const Kernel& kernel, const Args& args) {
  Args own = args;
  const Buffer weights = packed(kernel, own);
  call(kernel, &own);
}

const std::int8_t* flipped(const std::int8_t* x, std::int64_t count, std::uint8_t flip, std::int8_t* to) {
  std::transform(x, x + count, to, [flip](std::int8_t q) { return static_cast<std::int8_t>(q ^ flip); });
  return to;
}

// Moves images from one layout to another, top bits flipped on the way.
void move(const std::int8_t* x, const steps& from, std::int8_t* out, const steps& to, std::int64_t images,
          std::int64_t channels, extent size, std::uint8_t flip) {
  for (std::int64_t image = 0; image < images; ++image)
    for (std::int64_t channel = 0; channel < channels; ++channel)
      for (std::int64_t row = 0; row < size.height; ++row) {
        const std::int8_t* source = x + image * from.image + channel * from.channel + row * from.row;
        std::int8_t* target = out + image * to.image + channel * to.channel + row * to.row;
        for (std::int64_t column = 0; column < size.width; ++column)
          target[column * to.column] = static_cast<std::int8_t>(source[column * from.column] ^ flip);
      }
}

// Rows or columns with padding on both sides, as far as the last window reaches.
std::int64_t padded(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride, std::int64_t padding,
                    std::int64_t dilation) {
  return std::max(padding + in, (out - 1) * stride + dilation * (kernel - 1) + 1);
}

template <class Args>
void run_channels_last(const Kernel& kernel, const Args& args) {
  if (!(kernel.flags & kImages)) return call(kernel, &args);
  Args own = args;
  own.x_step = channels_last(args.channels, args.in_size);
  own.out_step = channels_last(args.channels, args.out_size);
  Buffer x(args.images * own.x_step.image), out(args.images * own.out_step.image);
  move(args.x, args.x_step, x.bytes(), own.x_step, args.images, args.channels, args.in_size, 0);
  own.x = x.bytes();
  own.out = out.bytes();
  call(kernel, &own);
  move(out.bytes(), own.out_step, args.out, args.out_step, args.images, args.channels, args.out_size, 0);
}

}  // namespace

void run_as(const Kernel& kernel, const linear_s8_args& args) {
  if (!(kernel.flags & (kBiased | kPacked))) return call(kernel, &args);
  linear_s8_args own = args;
  own.flip = flip_of(kernel);
  const std::int64_t in = args.rows * args.fan_in, results = args.rows * args.features;
  Buffer x(in), out(results), added(args.added.x ? results : 0);
  own.x = flipped(args.x, in, own.flip, x.bytes());
  own.out = out.bytes();
  if (args.added.x) own.added.x = flipped(args.added.x, results, own.flip, added.bytes());
  const Buffer weights = packed(kernel, own);
  call(kernel, &own);
  flipped(out.bytes(), results, own.flip, args.out);
}

void run_as(const Kernel& kernel, const matmul_s8_args& args) {
  if (!(kernel.flags & kBiased)) return call(kernel, &args);
  matmul_s8_args own = args;
  own.flip = flip_of(kernel);
  const broadcast& batch = args.batch;
  std::int64_t matrices_a = 1, matrices_b = 1, matrices = 1;
  for (int d = 0; d < batch.dims; ++d) {
    matrices_a += (batch.size[d] - 1) * batch.step_a[d];
    matrices_b += (batch.size[d] - 1) * batch.step_b[d];
    matrices *= batch.size[d];
  }
  if (matrices == 0) return;
  Buffer a(matrices_a * args.rows * args.fan_in), b(matrices_b * args.fan_in * args.columns),
      out(matrices * args.rows * args.columns);
  own.a = flipped(args.a, matrices_a * args.rows * args.fan_in, own.flip, a.bytes());
  own.b = flipped(args.b, matrices_b * args.fan_in * args.columns, own.flip, b.bytes());
  own.out = out.bytes();
  call(kernel, &own);
  flipped(out.bytes(), matrices * args.rows * args.columns, own.flip, args.out);
}

void run_as(const Kernel& kernel, const conv2d_s8_args& args) {
  if (!(kernel.flags & kImages)) return call(kernel, &args);
  conv2d_s8_args own = args;
  own.flip = flip_of(kernel);
  const extent size = {padded(args.in_size.height, args.out_size.height, args.kernel.height, args.stride.height,
                              args.padding.height, args.dilation.height),
                       padded(args.in_size.width, args.out_size.width, args.kernel.width, args.stride.width,
                              args.padding.width, args.dilation.width)};
  own.x_step = channels_last(args.in_channels, size);
  own.out_step = channels_last(args.out_channels, args.out_size);
  Buffer x(args.images * own.x_step.image, own.flip), out(args.images * own.out_step.image);
  own.x = x.bytes() + args.padding.height * own.x_step.row + args.padding.width * own.x_step.column;
  move(args.x, args.x_step, const_cast<std::int8_t*>(own.x), own.x_step, args.images, args.in_channels, args.in_size,
       own.flip);
  own.out = out.bytes();
  Buffer added(args.added.x ? args.images * own.out_step.image : 0);
  if (args.added.x) {
    own.added.x = added.bytes();
    own.added.step = own.out_step;
    move(args.added.x, args.added.step, added.bytes(), own.out_step, args.images, args.out_channels, args.out_size,
         own.flip);
  }
  const Buffer weights = packed(kernel, own);
  call(kernel, &own);
  move(out.bytes(), own.out_step, args.out, args.out_step, args.images, args.out_channels, args.out_size, own.flip);
}

void run_as(const Kernel& kernel, const avg_pool_s8_args& args) {
  run_channels_last(kernel, args);
}

void run_as(const Kernel& kernel, const max_pool_s8_args& args) {
  run_channels_last(kernel, args);
}

void run_as(const Kernel& kernel, const gru_s8_args& args) {
  run_packed(kernel, args);
}

void run_as(const Kernel& kernel, const lstm_s8_args& args) {
  run_packed(kernel, args);
}

}  // namespace edgekit
