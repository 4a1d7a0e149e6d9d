#include "isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace edgekit {

const char* name(Isa isa) {
  switch (isa) {
    case Isa::ref:
      return "ref";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512vnni:
      return "avx512vnni";
    case Isa::neondot:
      return "neondot";
    case Isa::neoni8mm:
      return "neoni8mm";
  }
  return "unknown";
}

namespace {

#if defined(__x86_64__)

// Bit numbers are those of the Intel SDM, volume 2A, CPUID, and volume 1, 13.2 (XCR0).
constexpr bool has(std::uint32_t word, int number) {
  return (word >> number) & 1u;
}

// The register state that the operating system saves; a processor with AVX-512 under an old kernel must not use it.
std::uint32_t saved_state() {
  std::uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

std::uint32_t probe() {
  std::uint32_t flags = bit(Isa::ref);
  std::uint32_t eax, ebx, ecx, edx;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !has(ecx, 27)) return flags;  // OSXSAVE
  const bool fma = has(ecx, 12);
  const std::uint32_t saved = saved_state();
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return flags;
  const bool ymm = (saved & 0x06) == 0x06;  // SSE and AVX state
  const bool zmm = (saved & 0xe6) == 0xe6;  // and opmask, upper ZMM
  if (ymm && fma && has(ebx, 5)) flags |= bit(Isa::avx2);
  const bool avx512 = has(ebx, 16) && has(ebx, 17) && has(ebx, 30) && has(ebx, 31);  // F, DQ, BW, VL
  if (zmm && avx512 && has(ecx, 11)) flags |= bit(Isa::avx512vnni);
  return flags;
}

#elif defined(__aarch64__) && defined(__linux__)

std::uint32_t probe() {
  constexpr unsigned long kDotProduct = 1ul << 20;  // HWCAP_ASIMDDP
  constexpr unsigned long kInt8Matrix = 1ul << 13;  // HWCAP2_I8MM
  std::uint32_t flags = bit(Isa::ref);
  if (getauxval(AT_HWCAP) & kDotProduct) flags |= bit(Isa::neondot);
  if (getauxval(AT_HWCAP2) & kInt8Matrix) flags |= bit(Isa::neoni8mm);
  return flags;
}

#else

std::uint32_t probe() {
  return bit(Isa::ref);
}

#endif

}  // namespace

std::uint32_t isa_flags() {
  static const std::uint32_t flags = probe();
  return flags;
}

bool has_vbmi() {
#if defined(__x86_64__)
  static const bool found = [] {
    std::uint32_t eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && has(ecx, 1);
  }();
  return found && (isa_flags() & bit(Isa::avx512vnni));
#else
  return false;
#endif
}

}  // namespace edgekit
