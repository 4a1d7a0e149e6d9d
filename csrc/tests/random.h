// Drawn values for the constants of plans by hand.
#pragma once

#include <cstdint>
#include <vector>

#include "../engine/view.h"

namespace edgekit::test {

struct Random {
  u64 state = 88172645463325252u;

  u32 draw() {  // xorshift64
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<u32>(state >> 32);
  }
  std::vector<std::int8_t> bytes(i64 count) {
    std::vector<std::int8_t> values(static_cast<std::size_t>(count));
    for (auto& one : values) one = static_cast<std::int8_t>(static_cast<int>(draw() % 255) - 127);
    return values;
  }
  std::vector<std::int32_t> words(i64 count, std::int32_t most) {
    std::vector<std::int32_t> values(static_cast<std::size_t>(count));
    for (auto& one : values) one = static_cast<std::int32_t>(draw() % static_cast<u32>(2 * most)) - most;
    return values;
  }
  std::vector<float> reals(i64 count, float least, float most) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (auto& one : values) one = least + (most - least) * static_cast<float>(draw() % 1000) / 1000.0f;
    return values;
  }
};

}  // namespace edgekit::test
