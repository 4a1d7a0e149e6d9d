// What this processor can run. The only place that asks it.
#pragma once

#include <cstdint>

namespace edgekit {

// Instruction sets that kernels are written for, from the plainest to the one to prefer.
enum class Isa : std::uint8_t { ref, avx2, avx512vnni, neondot, neoni8mm };

constexpr Isa kAllIsas[] = {Isa::ref, Isa::avx2, Isa::avx512vnni, Isa::neondot, Isa::neoni8mm};

constexpr std::uint32_t bit(Isa isa) {
  return 1u << static_cast<unsigned>(isa);
}

const char* name(Isa isa);

// One bit for each Isa that both the processor and the operating system support; asked once.
std::uint32_t isa_flags();

// Whether there are permutations of single bytes, which some processors with avx512vnni lack.
bool has_vbmi();

}  // namespace edgekit
