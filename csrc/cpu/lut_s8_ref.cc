// lut_s8, normative: out = table[channel][x + 128].
#include "../ops.h"

namespace edgekit {

void lut_s8_ref(const lut_s8_args& args) {
  const lut_s8_args own = args;  // a copy, since a store of bytes might change what args points to
  for (std::int64_t outer = 0; outer < own.outer; ++outer) {
    const std::int8_t* x = own.x + outer * own.x_step;
    std::int8_t* out = own.out + outer * own.out_step;
    for (std::int64_t c = 0; c < own.channels; ++c, x += own.inner, out += own.inner)
      for (std::int64_t i = 0; i < own.inner; ++i) out[i] = own.table[c * 256 + x[i] + 128];
  }
}

}  // namespace edgekit
