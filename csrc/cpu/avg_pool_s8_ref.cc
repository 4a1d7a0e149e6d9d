// avg_pool_s8, normative: y = sat8(rne(float32(sum of the window) * multiplier[n])), n torch's divisor for that window.
// The sum is exact: at most 131,071 values of magnitude 128.
#include <algorithm>

#include "../ops.h"
#include "../requant.h"
#include "../residual.h"
#include "../window.h"

namespace edgekit {

namespace {

std::int32_t window_sum(const avg_pool_s8_args& args, const std::int8_t* plane, std::int64_t top, std::int64_t left) {
  const taps rows(top, args.kernel.height, 1, args.in_size.height),
      columns(left, args.kernel.width, 1, args.in_size.width);
  std::int32_t sum = 0;
  for (std::int64_t row = top + rows.begin; row < top + rows.end; ++row) {
    for (std::int64_t column = left + columns.begin; column < left + columns.end; ++column) {
      sum += plane[row * args.x_step.row + column * args.x_step.column];
    }
  }
  return sum;
}

}  // namespace

void avg_pool_s8_ref(const avg_pool_s8_args& args) {
  for (std::int64_t plane = 0; plane < args.images * args.channels; ++plane) {
    const std::int64_t image = plane / args.channels, channel = plane % args.channels;
    const std::int8_t* x = args.x + image * args.x_step.image + channel * args.x_step.channel;
    for (std::int64_t i = 0; i < args.out_size.height; ++i) {
      const std::int64_t top = i * args.stride.height - args.padding.height;
      const std::int64_t rows =
          counted(top, args.kernel.height, args.padding.height, args.in_size.height, args.count_include_pad);
      for (std::int64_t j = 0; j < args.out_size.width; ++j) {
        const std::int64_t left = j * args.stride.width - args.padding.width;
        const std::int64_t columns =
            counted(left, args.kernel.width, args.padding.width, args.in_size.width, args.count_include_pad);
        args.out[at_step(args.out_step, image, channel, i, j)] =
            requantize(window_sum(args, x, top, left), args.multiplier[rows * columns], args.limit.lo, args.limit.hi);
      }
    }
  }
}

}  // namespace edgekit
