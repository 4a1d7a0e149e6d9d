// rms_norm_s8, normative: out = sat8(rne(t * gain)), t as of layer norm with a sum of 0; see norm.h.
#include "../norm.h"
#include "../ops_sequences.h"

namespace edgekit {

void rms_norm_s8_ref(const rms_norm_s8_args& args) {
  const rms_norm_s8_args own = args;  // a copy, since a store of bytes might change what args points to
  for (std::int64_t row = 0; row < own.rows; ++row) {
    const std::int8_t* x = own.x + row * own.length;
    const set_sums set = {0, sums_of(x, own.length).squares};
    const float factor = deviation_factor(set, own.length, own.scale, own.eps);
    for (std::int64_t i = 0; i < own.length; ++i) {
      own.out[row * own.length + i] = saturate(normalised(x[i], set, own.length, factor) * own.gain[i], -128, 127);
    }
  }
}

}  // namespace edgekit
