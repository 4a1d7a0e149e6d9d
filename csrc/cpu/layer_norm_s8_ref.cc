// layer_norm_s8, normative: out = sat8(rne(t * gain + offset)), t = float32(N*q - S) * float32(r / N); see norm.h.
#include "../norm.h"
#include "../ops_sequences.h"

namespace edgekit {

void layer_norm_s8_ref(const layer_norm_s8_args& args) {
  const layer_norm_s8_args own = args;  // a copy, since a store of bytes might change what args points to
  for (std::int64_t row = 0; row < own.rows; ++row) {
    const std::int8_t* x = own.x + row * own.length;
    const set_sums set = sums_of(x, own.length);
    const float factor = deviation_factor(set, own.length, own.scale, own.eps);
    for (std::int64_t i = 0; i < own.length; ++i) {
      const float t = normalised(x[i], set, own.length, factor);
      own.out[row * own.length + i] = affine(t, own.gain[i], own.offset[i]);
    }
  }
}

}  // namespace edgekit
