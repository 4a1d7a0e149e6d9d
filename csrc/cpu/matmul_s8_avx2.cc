// matmul_s8 for AVX2: the dense product of product_avx2.cc, b packed on the way.
#include "../matmul.h"
#include "../product_avx2.h"

#if defined(__x86_64__)

namespace edgekit {

namespace {

constexpr DenseProduct kDense = {avx2::packed_bytes, avx2::pack_weights, avx2::scratch_bytes, avx2::multiply};

}  // namespace

std::size_t matmul_s8_avx2_scratch(const matmul_s8_args& args) {
  return matmul_scratch(args, kDense);
}

void matmul_s8_avx2(const matmul_s8_args& args, const part& part) {
  matmul(args, part, kDense);
}

}  // namespace edgekit

#endif
