// gru_s8 for AVX2: the dense product of product_avx2.cc, and the plain loops of plain_recurrent.h.
#include "../plain_recurrent.h"
#include "../product_avx2.h"

#if defined(__x86_64__)

namespace edgekit {

std::size_t gru_s8_avx2_scratch(const gru_s8_args& args) {
  return plain::recurrent_scratch(args, avx2::kDense);
}

std::size_t gru_s8_avx2_packed(const gru_s8_args& args) {
  return plain::recurrent_packed(args, avx2::kDense);
}

void gru_s8_avx2_pack(const gru_s8_args& args, void* to) {
  plain::recurrent_pack(args, avx2::kDense, to);
}

__attribute__((target("avx2,fma"))) void gru_s8_avx2(const gru_s8_args& args, const part& part) {
  plain::gru(args, part, avx2::kDense);
}

}  // namespace edgekit

#endif
