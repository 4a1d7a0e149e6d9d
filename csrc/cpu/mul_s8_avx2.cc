// mul_s8 for AVX2: the plain loops of plain.h, which the compiler makes vectors of.
#include "../plain.h"

#if defined(__x86_64__)

namespace edgekit {

__attribute__((target("avx2,fma"))) void mul_s8_avx2(const mul_s8_args& args, const part& part) {
  for_each_row_of(args.shape, part,
                  [&args](std::int64_t a, std::int64_t b, std::int64_t out, std::int64_t length, std::int64_t step_a,
                          std::int64_t step_b) __attribute__((target("avx2,fma"))) {
                    plain::mul_row(args, args.a + a, args.b + b, args.out + out, length, step_a, step_b);
                  });
}

}  // namespace edgekit

#endif
