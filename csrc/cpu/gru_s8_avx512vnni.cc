// gru_s8 for AVX-512 VNNI: the dense product of product_avx512vnni.cc, and the plain loops of plain_recurrent.h.
#include "../plain_recurrent.h"
#include "../product_avx512vnni.h"
#include "../vnni.h"

#if defined(__x86_64__)

namespace edgekit {

std::size_t gru_s8_avx512vnni_scratch(const gru_s8_args& args) {
  return plain::recurrent_scratch(args, vnni::kDense);
}

std::size_t gru_s8_avx512vnni_packed(const gru_s8_args& args) {
  return plain::recurrent_packed(args, vnni::kDense);
}

void gru_s8_avx512vnni_pack(const gru_s8_args& args, void* to) {
  plain::recurrent_pack(args, vnni::kDense, to);
}

EDGEKIT_VNNI_TARGET void gru_s8_avx512vnni(const gru_s8_args& args, const part& part) {
  plain::gru(args, part, vnni::kDense);
}

}  // namespace edgekit

#endif
