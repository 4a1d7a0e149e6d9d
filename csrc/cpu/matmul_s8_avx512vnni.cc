// matmul_s8 for AVX-512 VNNI: the dense product of product_avx512vnni.cc, b packed on the way.
#include "../matmul.h"
#include "../product_avx512vnni.h"

#if defined(__x86_64__)

namespace edgekit {

namespace {

constexpr DenseProduct kDense = {vnni::packed_bytes, vnni::pack_weights,
                                 [](const Product&) -> std::size_t { return 0; }, vnni::multiply};

}  // namespace

std::size_t matmul_s8_avx512vnni_scratch(const matmul_s8_args& args) {
  return matmul_scratch(args, kDense);
}

void matmul_s8_avx512vnni(const matmul_s8_args& args, const part& part) {
  matmul(args, part, kDense);
}

}  // namespace edgekit

#endif
