// quantize_s8, normative: out = sat8(rne(x / scale)).
#include "../ops.h"
#include "../requant.h"

namespace edgekit {

void quantize_s8_ref(const quantize_s8_args& args) {
  const bounds limit = args.limit;  // a copy, since a store of bytes might change what args points to
  for (std::int64_t row = 0; row < args.outer * args.channels; ++row) {
    const float scale = args.scale[row % args.channels];
    const float* x = args.x + row * args.inner;
    std::int8_t* out = args.out + row * args.inner;
    for (std::int64_t i = 0; i < args.inner; ++i) out[i] = quantize(x[i], scale, limit.lo, limit.hi);
  }
}

}  // namespace edgekit
