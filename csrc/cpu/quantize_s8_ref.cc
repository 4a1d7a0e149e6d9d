// quantize_s8, normative: out = sat8(rne(x / scale)).
#include "../ops.h"
#include "../requant.h"

namespace edgekit {

void quantize_s8_ref(const quantize_s8_args& args) {
  const quantize_s8_args own = args;  // a copy, since a store of bytes might change what args points to
  axes rows = own.along;
  const std::int64_t length = rows.size[--rows.dims], step = rows.step[rows.dims];
  const float* x = own.x;
  std::int64_t row = 0;
  for_each_offset(rows, [&](std::int64_t offset) {
    const float scale = own.scale[row++ % own.channels];
    std::int8_t* out = own.out + offset;
    for (std::int64_t i = 0; i < length; ++i) out[i * step] = quantize(x[i], scale, own.limit.lo, own.limit.hi);
    x += length;
  });
}

}  // namespace edgekit
