// l2_norm_s8, normative: out = sat8(rne(float32(q) * c * gain)), c = float32(sx / max(sqrt(sx*sx*Q), eps)); see norm.h.
#include "../norm.h"
#include "../ops_sequences.h"

namespace edgekit {

void l2_norm_s8_ref(const l2_norm_s8_args& args) {
  const l2_norm_s8_args own = args;  // a copy, since a store of bytes might change what args points to
  for (std::int64_t row = 0; row < own.rows; ++row) {
    const std::int8_t* x = own.x + row * own.length;
    const double squares = static_cast<double>(sums_of(x, own.length).squares);
    const double length = std::sqrt(own.scale * own.scale * squares);
    const float c = static_cast<float>(own.scale / (length < own.eps ? own.eps : length));
    for (std::int64_t i = 0; i < own.length; ++i) {
      own.out[row * own.length + i] = saturate(static_cast<float>(x[i]) * c * own.gain, -128, 127);
    }
  }
}

}  // namespace edgekit
