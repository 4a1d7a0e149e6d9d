// fake_quantize_backward, normative: the gradient of x passes inside the bounds, that of a scale is the sum of the
// gradients times q - x / scale inside, and times the bound outside.
#include <cmath>

#include "../ops.h"
#include "../requant.h"
#include "../sums.h"

namespace edgekit {

namespace {

// Beyond the bounds every quotient counts as one step beyond, so that it can be rounded.
float rounded(float quotient, bounds limit) {
  const float least = static_cast<float>(limit.lo - 1), most = static_cast<float>(limit.hi + 1);
  return round_half_even(std::fmin(std::fmax(quotient, least), most));
}

}  // namespace

void fake_quantize_backward_ref(const fake_quantize_backward_args& args) {
  const float lo = static_cast<float>(args.limit.lo), hi = static_cast<float>(args.limit.hi);
  ordered_sum sum;
  for (std::int64_t channel = 0; channel < args.channels; ++channel) {
    for (std::int64_t row = 0; row < args.outer; ++row) {
      const std::int64_t begin = (row * args.channels + channel) * args.inner;
      for (std::int64_t i = begin; i < begin + args.inner; ++i) {
        const float quotient = args.x[i] / args.scale[channel], steps = rounded(quotient, args.limit);
        float slope = steps < lo ? lo : hi;
        if (std::isnan(quotient)) slope = 0;
        const bool inside = lo <= steps && steps <= hi && !std::isnan(quotient);
        if (inside) slope = steps - quotient;
        args.of_x[i] = inside ? args.gradient[i] : 0;
        const double term = static_cast<double>(args.gradient[i]) * static_cast<double>(slope);
        if (args.of_scale) sum.add(1, [term](std::int64_t) { return term; });
      }
    }
    if (args.of_scale) args.of_scale[channel] = static_cast<float>(sum.total());
  }
}

}  // namespace edgekit
