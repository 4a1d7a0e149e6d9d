// sum_s8, normative: out = sat8(rne(float32(sum of x) * multiplier)). Fewer than 2^24 values of at most 2^7 fit int32.
#include "../ops.h"
#include "../requant.h"

namespace edgekit {

void sum_s8_ref(const sum_s8_args& args) {
  std::int8_t* out = args.out;
  for_each_offset(args.kept, [&args, &out](std::int64_t first) {
    std::int32_t sum = 0;
    for_each_offset(args.reduced, [&](std::int64_t offset) { sum += args.x[first + offset]; });
    *out++ = requantize(sum, args.multiplier, args.limit.lo, args.limit.hi);
  });
}

}  // namespace edgekit
