// lstm_s8 for NEON with dot products: the dense product of product_neondot.cc, and the plain loops of
// plain_recurrent.h.
#include "../plain_recurrent.h"
#include "../product_neondot.h"

#if defined(__aarch64__)

namespace edgekit {

std::size_t lstm_s8_neondot_scratch(const lstm_s8_args& args) {
  return plain::recurrent_scratch(args, neon::kDense);
}

std::size_t lstm_s8_neondot_packed(const lstm_s8_args& args) {
  return plain::recurrent_packed(args, neon::kDense);
}

void lstm_s8_neondot_pack(const lstm_s8_args& args, void* to) {
  plain::recurrent_pack(args, neon::kDense, to);
}

void lstm_s8_neondot(const lstm_s8_args& args, const part& part) {
  plain::lstm(args, part, neon::kDense);
}

}  // namespace edgekit

#endif
