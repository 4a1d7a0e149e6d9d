// Memory for one call outside the engine, which plans its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace edgekit {

constexpr std::size_t kLine = 64;

// Bytes that begin on a line of the cache, with a line behind them that a kernel may read.
class Buffer {
 public:
  explicit Buffer(std::size_t bytes, std::uint8_t value = 0) : memory_(bytes + 2 * kLine, value) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
    begin_ = memory_.data() + (kLine - address % kLine) % kLine;
  }

  std::int8_t* bytes() { return reinterpret_cast<std::int8_t*>(begin_); }

 private:
  std::vector<std::uint8_t> memory_;
  std::uint8_t* begin_;
};

}  // namespace edgekit
