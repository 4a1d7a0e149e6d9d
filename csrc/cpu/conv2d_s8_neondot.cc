// conv2d_s8 for NEON with dot products: channels last, padding in memory, dense products a group at a time. A depthwise
// layer has no dot product of four bytes; its channels go side by side in plain loops that the compiler vectorises.
#include "../depthwise.h"
#include "../product_neondot.h"

#if defined(__aarch64__)

namespace edgekit {

std::size_t conv2d_s8_neondot_packed(const conv2d_s8_args& args) {
  return is_depthwise(args) ? depthwise_packed_bytes(args) : args.groups * neon::packed_bytes(product_of(args, 0));
}

void conv2d_s8_neondot_pack(const conv2d_s8_args& args, void* to) {
  if (is_depthwise(args)) return pack_depthwise(args, to);
  auto* packed = static_cast<std::uint8_t*>(to);
  for (std::int64_t group = 0; group < args.groups; ++group) {
    const Product product = product_of(args, group);
    neon::pack_weights(product, filters_of(args, group), packed);
    packed += neon::packed_bytes(product);
  }
}

void conv2d_s8_neondot(const conv2d_s8_args& args, const part& part) {
  if (is_depthwise(args)) return depthwise(args, part);
  const auto* packed = static_cast<const std::uint8_t*>(args.packed);
  for (std::int64_t group = 0; group < args.groups; ++group) {
    const Product product = product_of(args, group);
    neon::multiply(product, packed, args.limit, args.added, part);
    packed += neon::packed_bytes(product);
  }
}

}  // namespace edgekit

#endif
