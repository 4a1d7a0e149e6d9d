// matmul_s8 for NEON with dot products: the dense product of product_neondot.cc, b packed on the way.
#include "../matmul.h"
#include "../product_neondot.h"

#if defined(__aarch64__)

namespace edgekit {

std::size_t matmul_s8_neondot_scratch(const matmul_s8_args& args) {
  return matmul_scratch(args, neon::kDense);
}

void matmul_s8_neondot(const matmul_s8_args& args, const part& part) {
  matmul(args, part, neon::kDense);
}

}  // namespace edgekit

#endif
