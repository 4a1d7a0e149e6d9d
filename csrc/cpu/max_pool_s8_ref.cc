// max_pool_s8, normative: y = max of each window, padded with -128.
#include <algorithm>

#include "../ops.h"
#include "../residual.h"
#include "../window.h"

namespace edgekit {

namespace {

std::int8_t window_max(const max_pool_s8_args& args, const std::int8_t* plane, std::int64_t top, std::int64_t left) {
  const taps rows(top, args.kernel.height, args.dilation.height, args.in_size.height);
  const taps columns(left, args.kernel.width, args.dilation.width, args.in_size.width);
  std::int8_t largest = -128;
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    for (std::int64_t column = columns.begin; column < columns.end; ++column) {
      const std::int64_t at = (top + row * args.dilation.height) * args.x_step.row +
                              (left + column * args.dilation.width) * args.x_step.column;
      largest = std::max(largest, plane[at]);
    }
  }
  return largest;
}

}  // namespace

void max_pool_s8_ref(const max_pool_s8_args& args) {
  for (std::int64_t plane = 0; plane < args.images * args.channels; ++plane) {
    const std::int64_t image = plane / args.channels, channel = plane % args.channels;
    const std::int8_t* x = args.x + image * args.x_step.image + channel * args.x_step.channel;
    for (std::int64_t i = 0; i < args.out_size.height; ++i) {
      for (std::int64_t j = 0; j < args.out_size.width; ++j) {
        args.out[at_step(args.out_step, image, channel, i, j)] = window_max(
            args, x, i * args.stride.height - args.padding.height, j * args.stride.width - args.padding.width);
      }
    }
  }
}

}  // namespace edgekit
