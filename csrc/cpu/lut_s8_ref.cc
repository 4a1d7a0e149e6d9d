// lut_s8, normative: out = table[x + 128].
#include "../ops.h"

namespace edgekit {

void lut_s8_ref(const lut_s8_args& args) {
  for (std::int64_t i = 0; i < args.size; ++i) args.out[i] = args.table[args.x[i] + 128];
}

}  // namespace edgekit
