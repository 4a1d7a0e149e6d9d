// lut_s8, normative: out = table[x + 128].
#include "../ops.h"

namespace edgekit {

void lut_s8_ref(const lut_s8_args& args) {
  const lut_s8_args own = args;  // a copy, since a store of bytes might change what args points to
  for (std::int64_t i = 0; i < own.size; ++i) own.out[i] = own.table[own.x[i] + 128];
}

}  // namespace edgekit
