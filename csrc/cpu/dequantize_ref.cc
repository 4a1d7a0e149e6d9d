// dequantize, normative: out = float32(x) * scale.
#include "../ops.h"

namespace edgekit {

namespace {

template <class Integer>
void dequantize(const Integer* x, const dequantize_args& args) {
  for (std::int64_t row = 0; row < args.outer * args.channels; ++row) {
    const float scale = args.scale[row % args.channels];
    const std::int64_t begin = row * args.inner;
    for (std::int64_t i = begin; i < begin + args.inner; ++i) args.out[i] = static_cast<float>(x[i]) * scale;
  }
}

}  // namespace

void dequantize_ref(const dequantize_args& args) {
  if (args.x_s8) {
    dequantize(args.x_s8, args);
  } else {
    dequantize(args.x_s32, args);
  }
}

}  // namespace edgekit
