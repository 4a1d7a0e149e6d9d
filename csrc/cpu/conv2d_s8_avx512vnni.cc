// conv2d_s8 for AVX-512 VNNI: channels last, padding in memory. Depthwise layers have a kernel of their own; all others
// are dense products, a group at a time.
#include "../depthwise.h"
#include "../depthwise_avx512vnni.h"
#include "../product_avx512vnni.h"

#if defined(__x86_64__)

namespace edgekit {

const char* conv2d_s8_avx512vnni_refuses(const conv2d_s8_args& args) {
  return is_depthwise(args) ? vnni::depthwise_refuses(args) : nullptr;
}

std::size_t conv2d_s8_avx512vnni_packed(const conv2d_s8_args& args) {
  if (is_depthwise(args)) return vnni::depthwise_packed_bytes(args);
  return args.groups * vnni::packed_bytes(product_of(args, 0));
}

void conv2d_s8_avx512vnni_pack(const conv2d_s8_args& args, void* to) {
  if (is_depthwise(args)) return vnni::pack_depthwise(args, to);
  auto* packed = static_cast<std::uint8_t*>(to);
  for (std::int64_t group = 0; group < args.groups; ++group) {
    const Product product = product_of(args, group);
    vnni::pack_weights(product, filters_of(args, group), packed);
    packed += vnni::packed_bytes(product);
  }
}

void conv2d_s8_avx512vnni(const conv2d_s8_args& args, const part& part) {
  if (is_depthwise(args)) return vnni::depthwise(args, part);
  const auto* packed = static_cast<const std::uint8_t*>(args.packed);
  for (std::int64_t group = 0; group < args.groups; ++group) {
    const Product product = product_of(args, group);
    vnni::multiply(product, packed, args.limit, args.added, part);
    packed += vnni::packed_bytes(product);
  }
}

}  // namespace edgekit

#endif
