// matmul_s8 for AVX2: the dense product of product_avx2.cc, b packed on the way.
#include "../matmul.h"
#include "../product_avx2.h"

#if defined(__x86_64__)

namespace edgekit {

std::size_t matmul_s8_avx2_scratch(const matmul_s8_args& args) {
  return matmul_scratch(args, avx2::kDense);
}

void matmul_s8_avx2(const matmul_s8_args& args, const part& part) {
  matmul(args, part, avx2::kDense);
}

}  // namespace edgekit

#endif
