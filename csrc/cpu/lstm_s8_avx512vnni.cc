// lstm_s8 for AVX-512 VNNI: the dense product of product_avx512vnni.cc, and the plain loops of plain_recurrent.h.
#include "../plain_recurrent.h"
#include "../product_avx512vnni.h"
#include "../vnni.h"

#if defined(__x86_64__)

namespace edgekit {

std::size_t lstm_s8_avx512vnni_scratch(const lstm_s8_args& args) {
  return plain::recurrent_scratch(args, vnni::kDense);
}

std::size_t lstm_s8_avx512vnni_packed(const lstm_s8_args& args) {
  return plain::recurrent_packed(args, vnni::kDense);
}

void lstm_s8_avx512vnni_pack(const lstm_s8_args& args, void* to) {
  plain::recurrent_pack(args, vnni::kDense, to);
}

EDGEKIT_VNNI_TARGET void lstm_s8_avx512vnni(const lstm_s8_args& args, const part& part) {
  plain::lstm(args, part, vnni::kDense);
}

}  // namespace edgekit

#endif
