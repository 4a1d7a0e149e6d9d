// conv2d_s8 for AVX2: channels last, padding in memory. Depthwise layers are plain loops over channels side by side,
// which the compiler turns into vectors of eight; all others are dense products, a group at a time.
#include "../depthwise.h"
#include "../depthwise_avx2.h"
#include "../product_avx2.h"

#if defined(__x86_64__)

namespace edgekit {

const char* conv2d_s8_avx2_refuses(const conv2d_s8_args& args) {
  return is_depthwise(args) ? avx2::depthwise_refuses(args) : nullptr;
}

std::size_t conv2d_s8_avx2_scratch(const conv2d_s8_args& args) {
  return is_depthwise(args) ? 0 : avx2::scratch_bytes(product_of(args, 0));
}

std::size_t conv2d_s8_avx2_packed(const conv2d_s8_args& args) {
  return is_depthwise(args) ? avx2::depthwise_packed_bytes(args)
                            : args.groups * avx2::packed_bytes(product_of(args, 0));
}

void conv2d_s8_avx2_pack(const conv2d_s8_args& args, void* to) {
  if (is_depthwise(args)) return avx2::pack_depthwise(args, to);
  auto* packed = static_cast<std::uint8_t*>(to);
  for (std::int64_t group = 0; group < args.groups; ++group) {
    const Product product = product_of(args, group);
    avx2::pack_weights(product, filters_of(args, group), packed);
    packed += avx2::packed_bytes(product);
  }
}

void conv2d_s8_avx2(const conv2d_s8_args& args, const part& part) {
  if (is_depthwise(args)) return avx2::depthwise(args, part);
  const auto* packed = static_cast<const std::uint8_t*>(args.packed);
  for (std::int64_t group = 0; group < args.groups; ++group) {
    const Product product = product_of(args, group);
    avx2::multiply(product, packed, args.limit, args.added, part);
    packed += avx2::packed_bytes(product);
  }
}

}  // namespace edgekit

#endif
