// fake_quantize, normative: out = float32(sat8(rne(x / scale))) * scale.
#include "../ops.h"
#include "../requant.h"

namespace edgekit {

void fake_quantize_ref(const fake_quantize_args& args) {
  for (std::int64_t row = 0; row < args.outer * args.channels; ++row) {
    const float scale = args.scale[row % args.channels];
    const std::int64_t begin = row * args.inner;
    for (std::int64_t i = begin; i < begin + args.inner; ++i) {
      args.out[i] = static_cast<float>(quantize(args.x[i], scale, args.limit.lo, args.limit.hi)) * scale;
    }
  }
}

}  // namespace edgekit
