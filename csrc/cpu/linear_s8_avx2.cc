// linear_s8 for AVX2: the dense product of product_avx2.cc, a row of x being a pixel.
#include "../product_avx2.h"

#if defined(__x86_64__)

namespace edgekit {

std::size_t linear_s8_avx2_scratch(const linear_s8_args& args) {
  return avx2::scratch_bytes(product_of(args));
}

std::size_t linear_s8_avx2_packed(const linear_s8_args& args) {
  return avx2::packed_bytes(product_of(args));
}

void linear_s8_avx2_pack(const linear_s8_args& args, void* to) {
  avx2::pack_weights(product_of(args), filters_of(args), to);
}

void linear_s8_avx2(const linear_s8_args& args, const part& part) {
  avx2::multiply(product_of(args), args.packed, args.limit, args.added, part);
}

}  // namespace edgekit

#endif
