// linear_s8 for NEON with dot products: the dense product of product_neondot.cc, a row of x being a pixel.
#include "../product_neondot.h"

#if defined(__aarch64__)

namespace edgekit {

std::size_t linear_s8_neondot_packed(const linear_s8_args& args) {
  return neon::packed_bytes(product_of(args));
}

void linear_s8_neondot_pack(const linear_s8_args& args, void* to) {
  neon::pack_weights(product_of(args), filters_of(args), to);
}

void linear_s8_neondot(const linear_s8_args& args, const part& part) {
  neon::multiply(product_of(args), args.packed, args.limit, args.added, part);
}

}  // namespace edgekit

#endif
