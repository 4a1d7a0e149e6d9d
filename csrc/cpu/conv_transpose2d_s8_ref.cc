// conv_transpose2d_s8, normative: every output gathers the inputs whose windows reach it, then bias and requantisation.
// The sum fits int32: fan-in (in_channels / groups * kernel) <= 131,071.
#include "../ops.h"
#include "../requant.h"

namespace edgekit {

namespace {

// The input that tap k of the kernel brings to `out`, or -1: out = in * stride - padding + k * dilation.
std::int64_t source(std::int64_t out, std::int64_t k, std::int64_t size, std::int64_t stride, std::int64_t padding,
                    std::int64_t dilation) {
  const std::int64_t at = out + padding - k * dilation;
  return at >= 0 && at % stride == 0 && at / stride < size ? at / stride : -1;
}

std::int32_t window_sum(const conv_transpose2d_s8_args& args, std::int64_t image, std::int64_t channel,
                        std::int64_t row, std::int64_t column) {
  const std::int64_t outputs = args.out_channels / args.groups, inputs = args.in_channels / args.groups;
  const std::int64_t first = channel / outputs * inputs;
  std::int32_t sum = 0;
  for (std::int64_t kh = 0; kh < args.kernel.height; ++kh) {
    const std::int64_t y =
        source(row, kh, args.in_size.height, args.stride.height, args.padding.height, args.dilation.height);
    if (y < 0) continue;
    for (std::int64_t kw = 0; kw < args.kernel.width; ++kw) {
      const std::int64_t x =
          source(column, kw, args.in_size.width, args.stride.width, args.padding.width, args.dilation.width);
      if (x < 0) continue;
      for (std::int64_t c = first; c < first + inputs; ++c) {
        const std::int64_t tap = ((c * outputs + channel % outputs) * args.kernel.height + kh) * args.kernel.width + kw;
        const std::int64_t pixel = ((image * args.in_channels + c) * args.in_size.height + y) * args.in_size.width + x;
        sum += args.x[pixel] * args.weight[tap];
      }
    }
  }
  return sum;
}

}  // namespace

void conv_transpose2d_s8_ref(const conv_transpose2d_s8_args& args) {
  std::int8_t* out = args.out;
  for (std::int64_t image = 0; image < args.images; ++image)
    for (std::int64_t channel = 0; channel < args.out_channels; ++channel)
      for (std::int64_t row = 0; row < args.out_size.height; ++row)
        for (std::int64_t column = 0; column < args.out_size.width; ++column) {
          const std::int32_t sum = add_bias(window_sum(args, image, channel, row, column), args.bias[channel]);
          *out++ = requantize(sum, args.multiplier[channel], args.limit.lo, args.limit.hi);
        }
}

}  // namespace edgekit
