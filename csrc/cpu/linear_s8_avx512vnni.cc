// linear_s8 for AVX-512 VNNI: the dense product of product_avx512vnni.cc, a row of x being a pixel.
#include "../product_avx512vnni.h"

#if defined(__x86_64__)

namespace edgekit {

std::size_t linear_s8_avx512vnni_packed(const linear_s8_args& args) {
  return vnni::packed_bytes(product_of(args));
}

void linear_s8_avx512vnni_pack(const linear_s8_args& args, void* to) {
  vnni::pack_weights(product_of(args), filters_of(args), to);
}

void linear_s8_avx512vnni(const linear_s8_args& args, const part& part) {
  vnni::multiply(product_of(args), args.packed, args.limit, args.added, part);
}

}  // namespace edgekit

#endif
