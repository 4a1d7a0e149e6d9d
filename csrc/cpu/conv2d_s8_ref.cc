// conv2d_s8, normative: y = sat8(rne(float32(patch . w[o] + bias[o]) * multiplier[o])), padding reads 0.
// The dot product is exact: a fan-in <= 131,071, and 131,071 * 128 * 128 < 2^31.
//
// Each patch is gathered once, so that bounds are tested per row of the kernel, not per product, and then meets every
// filter of its group. Patch and filters are widened to int16: the compiler has a multiply-add of pairs for that on
// every ISA.
#include <algorithm>
#include <vector>

#include "../ops.h"
#include "../requant.h"
#include "../window.h"

namespace edgekit {

namespace {

// The patch of the window at (top, left) in the order of a filter: [channels, kernel.height, kernel.width].
void gather(const conv2d_s8_args& args, const std::int8_t* planes, std::int64_t channels, std::int64_t top,
            std::int64_t left, std::int16_t* patch) {
  const taps rows(top, args.kernel.height, args.dilation.height, args.in_size.height);
  const taps columns(left, args.kernel.width, args.dilation.width, args.in_size.width);
  std::fill_n(patch, channels * args.kernel.height * args.kernel.width, std::int16_t{0});
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
      const std::int64_t source =
          (channel * args.in_size.height + top + row * args.dilation.height) * args.in_size.width + left;
      std::int16_t* target = patch + (channel * args.kernel.height + row) * args.kernel.width;
      for (std::int64_t column = columns.begin; column < columns.end; ++column) {
        target[column] = planes[source + column * args.dilation.width];
      }
    }
  }
}

std::int32_t dot(const std::int16_t* patch, const std::int16_t* filter, std::int64_t fan_in) {
  std::int32_t sum = 0;
  for (std::int64_t k = 0; k < fan_in; ++k) sum += patch[k] * filter[k];
  return sum;
}

}  // namespace

void conv2d_s8_ref(const conv2d_s8_args& args) {
  const std::int64_t channels = args.in_channels / args.groups, filters = args.out_channels / args.groups;
  const std::int64_t fan_in = channels * args.kernel.height * args.kernel.width;
  const std::int64_t in_area = args.in_size.height * args.in_size.width,
                     out_area = args.out_size.height * args.out_size.width;
  const std::vector<std::int16_t> weight(args.weight, args.weight + args.out_channels * fan_in);
  std::vector<std::int16_t> patch(fan_in);
  for (std::int64_t block = 0; block < args.images * args.groups; ++block) {
    const std::int64_t first = block % args.groups * filters;
    const std::int8_t* planes = args.x + block * channels * in_area;
    std::int8_t* out = args.out + block * filters * out_area;
    for (std::int64_t at = 0; at < out_area; ++at) {
      const std::int64_t top = at / args.out_size.width * args.stride.height - args.padding.height;
      const std::int64_t left = at % args.out_size.width * args.stride.width - args.padding.width;
      gather(args, planes, channels, top, left, patch.data());
      for (std::int64_t o = 0; o < filters; ++o) {
        const std::int32_t sum = dot(patch.data(), weight.data() + (first + o) * fan_in, fan_in);
        out[o * out_area + at] =
            requantize(add_bias(sum, args.bias[first + o]), args.multiplier[first + o], args.limit.lo, args.limit.hi);
      }
    }
  }
}

}  // namespace edgekit
