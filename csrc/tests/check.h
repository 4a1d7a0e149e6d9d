// What the checks of kernels share: drawn values, one way to run a kernel in parts, and the verdict.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "../dispatch.h"
#include "guarded.h"

namespace edgekit::test {

constexpr std::size_t kSlack = 64;  // as engine/plan.h promises to kernels
inline std::uint64_t state = 88172645463325252ull;
inline long checked = 0, wrong = 0;

inline std::uint32_t draw() {  // xorshift64
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return static_cast<std::uint32_t>(state >> 32);
}

inline std::int64_t draw(std::int64_t least, std::int64_t most) {
  return least + static_cast<std::int64_t>(draw() % static_cast<std::uint64_t>(most - least + 1));
}

inline void fill(std::int8_t* to, std::int64_t count, bool extreme, int least = -128) {
  for (std::int64_t i = 0; i < count; ++i) {
    const int q = extreme ? (draw() & 1 ? 127 : least) : static_cast<int>(draw(least, 127));
    to[i] = static_cast<std::int8_t>(q);
  }
}

struct Weights {
  std::vector<std::int8_t> weight;
  std::vector<std::int32_t> bias;
  std::vector<float> multiplier;

  Weights(std::int64_t features, std::int64_t fan_in, bool extreme)
      : weight(features * fan_in), bias(features), multiplier(features) {
    fill(weight.data(), features * fan_in, extreme, -127);
    const std::int32_t ends[] = {INT32_MIN, INT32_MAX, 0, 1};
    for (std::int64_t o = 0; o < features; ++o) {
      bias[o] = extreme && o % 3 == 0 ? ends[draw() % 4] : static_cast<std::int32_t>(draw(-40000, 40000));
      const float usual = 0.02f / (1.0f + static_cast<float>(draw() % 64));
      const float odd[] = {1e-7f, 1.0f, 0.5f, 1e30f};
      multiplier[o] = extreme && o % 2 == 0 ? odd[draw() % 4] : usual;
    }
  }
};

inline bounds some_bounds() {
  const bounds all[] = {{-128, 127}, {0, 127}, {0, 96}, {-5, 5}, {-128, -128}};
  return all[draw() % 5];
}

inline void flip(std::int8_t* x, std::size_t count, std::uint8_t by) {
  for (std::size_t i = 0; i < count; ++i) x[i] = static_cast<std::int8_t>(x[i] ^ by);
}

template <class Args>
const Kernel& reference() {
  static const Kernel* found = &*std::find_if(kernels().begin(), kernels().end(), [](const Kernel& kernel) {
    return !std::strcmp(kernel.op, Args::op) && kernel.isa == Isa::ref;
  });
  return *found;
}

// Runs a kernel in `count` parts, the last first; each scribbles in memory of its own.
template <class Args>
void run_parts(const Kernel& kernel, Args& args, unsigned count) {
  std::vector<std::uint8_t> packed(kernel.packed(&args) + 64);
  if constexpr (std::is_same_v<Args, linear_s8_args> || std::is_same_v<Args, conv2d_s8_args> ||
                std::is_same_v<Args, gru_s8_args> || std::is_same_v<Args, lstm_s8_args>) {
    const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(packed.data());
    auto* aligned = packed.data() + (64 - address % 64) % 64;
    if (kernel.flags & kPacked) kernel.pack(&args, aligned);
    args.packed = aligned;
  }
  for (unsigned i = 0; i < count; ++i) {
    std::vector<std::uint64_t> scratch(kernel.scratch(&args) / 8 + 16);
    kernel.call(&args, part{count - 1 - i, count, scratch.data()});
  }
}

inline void verdict(const Kernel& kernel, bool same, const std::string& what) {
  ++checked;
  if (same) return;
  if (++wrong <= 20) std::printf("WRONG %s: %s\n", kernel.function, what.c_str());
}

inline unsigned parts_of(const Kernel& kernel) {
  return kernel.flags & kParts ? static_cast<unsigned>(draw(1, 8)) : 1;
}

// How many shapes of products and convolutions: a tenth of the usual under emulators and sanitizers.
enum class Sweep { reduced, usual, full };

void products(const Kernel& kernel, Sweep sweep);
void matrices(const Kernel& kernel, Sweep sweep);
void convolutions(const Kernel& kernel, Sweep sweep);
void average_pools(const Kernel& kernel, Sweep sweep);
void largest_pools(const Kernel& kernel, Sweep sweep);
void additions(const Kernel& kernel, Sweep sweep);
void multiplications(const Kernel& kernel, Sweep sweep);
void sums(const Kernel& kernel, Sweep sweep);
void tables(const Kernel& kernel, Sweep sweep);
void quantisations(const Kernel& kernel, Sweep sweep);
void fake_quantisations(const Kernel& kernel, Sweep sweep);
void fake_quantisation_gradients(const Kernel& kernel, Sweep sweep);
void softmaxes(const Kernel& kernel, Sweep sweep);
void layer_norms(const Kernel& kernel, Sweep sweep);
void rms_norms(const Kernel& kernel, Sweep sweep);
void l2_norms(const Kernel& kernel, Sweep sweep);
void group_norms(const Kernel& kernel, Sweep sweep);
void gru_layers(const Kernel& kernel, Sweep sweep);
void lstm_layers(const Kernel& kernel, Sweep sweep);

}  // namespace edgekit::test
