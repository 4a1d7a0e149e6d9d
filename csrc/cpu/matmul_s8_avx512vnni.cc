// matmul_s8 for AVX-512 VNNI: the dense product of product_avx512vnni.cc, b packed on the way.
#include "../matmul.h"
#include "../product_avx512vnni.h"

#if defined(__x86_64__)

namespace edgekit {

std::size_t matmul_s8_avx512vnni_scratch(const matmul_s8_args& args) {
  return matmul_scratch(args, vnni::kDense);
}

void matmul_s8_avx512vnni(const matmul_s8_args& args, const part& part) {
  matmul(args, part, vnni::kDense);
}

}  // namespace edgekit

#endif
