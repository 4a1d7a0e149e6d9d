#include "floats_blocks.h"

namespace edgekit {

namespace {

template <class T>
void gather(const void* from, std::int64_t step, std::int64_t count, void* to) {
  const auto* x = static_cast<const T*>(from);
  auto* out = static_cast<T*>(to);
  for (std::int64_t i = 0; i < count; ++i) out[i] = x[i * step];
}

template <class T>
void scatter(const void* from, std::int64_t step, std::int64_t count, void* to) {
  const auto* x = static_cast<const T*>(from);
  auto* out = static_cast<T*>(to);
  for (std::int64_t i = 0; i < count; ++i) out[i * step] = x[i];
}

}  // namespace

void gather_block(const std::uint8_t* from, std::int64_t step, std::int64_t bytes, std::int64_t count, void* to) {
  switch (bytes) {
    case 1:
      return gather<std::uint8_t>(from, step, count, to);
    case 2:
      return gather<std::uint16_t>(from, step, count, to);
    case 4:
      return gather<std::uint32_t>(from, step, count, to);
    default:
      return gather<std::uint64_t>(from, step, count, to);
  }
}

void scatter_block(const void* from, std::int64_t step, std::int64_t bytes, std::int64_t count, std::uint8_t* to) {
  if (step == 1) {
    std::memcpy(to, from, static_cast<std::size_t>(count * bytes));
    return;
  }
  switch (bytes) {
    case 1:
      return scatter<std::uint8_t>(from, step, count, to);
    case 2:
      return scatter<std::uint16_t>(from, step, count, to);
    case 4:
      return scatter<std::uint32_t>(from, step, count, to);
    default:
      return scatter<std::uint64_t>(from, step, count, to);
  }
}

}  // namespace edgekit
