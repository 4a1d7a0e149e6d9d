// group_scores, normative: sums of magnitudes and of squares for each channel. Both are exact in float64 and are added
// in the one order of sums.h.
#include <cmath>

#include "../ops.h"
#include "../sums.h"

namespace edgekit {

void group_scores_ref(const group_scores_args& args) {
  ordered_sum magnitudes, squares;
  for (std::int64_t channel = 0; channel < args.channels; ++channel) {
    for (std::int64_t row = 0; row < args.outer; ++row) {
      const float* weight = args.weight + (row * args.channels + channel) * args.inner;
      magnitudes.add(args.inner, [weight](std::int64_t i) { return std::fabs(static_cast<double>(weight[i])); });
      squares.add(args.inner, [weight](std::int64_t i) { return static_cast<double>(weight[i]) * weight[i]; });
    }
    args.magnitudes[channel] = static_cast<float>(magnitudes.total());
    args.squares[channel] = static_cast<float>(squares.total());
  }
}

}  // namespace edgekit
