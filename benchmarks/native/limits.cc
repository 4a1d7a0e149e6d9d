// How many multiply-accumulates of bytes a core can do: independent accumulators in registers, no memory. Each loop is
// the instruction that a tier multiplies with, and what it needs to sum up in 32 bits without saturating.
#include <cstring>

#include "timing.h"

namespace {

constexpr long kTurns = 100000;  // a fraction of a millisecond

#if defined(__x86_64__)

// 12 x 64
double vpdpbusd() {
  long turns = kTurns;
  asm volatile("vpxor %%xmm14, %%xmm14, %%xmm14\n\tvpxor %%xmm15, %%xmm15, %%xmm15\n1:\n\t"
#define DOT(n) "vpdpbusd %%zmm14, %%zmm15, %%zmm" #n "\n\t"
               DOT(0) DOT(1) DOT(2) DOT(3) DOT(4) DOT(5) DOT(6) DOT(7) DOT(8) DOT(9) DOT(10) DOT(11)
#undef DOT
                   "dec %0\n\tjnz 1b\n\tvzeroupper"
               : "+r"(turns)
               :
               : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                 "xmm14", "xmm15");
  return 12.0 * 64 * kTurns;
}

// 6 x 16: two products of 16 bits are summed in the instruction, and it takes another to add them up.
double vpmaddwd() {
  long turns = kTurns;
  asm volatile("vpxor %%xmm14, %%xmm14, %%xmm14\n\tvpxor %%xmm15, %%xmm15, %%xmm15\n1:\n\t"
#define MULTIPLY(n) "vpmaddwd %%ymm14, %%ymm15, %%ymm" #n "\n\t"
#define ADD(n, m) "vpaddd %%ymm" #n ", %%ymm" #m ", %%ymm" #m "\n\t"
               MULTIPLY(6) MULTIPLY(7) MULTIPLY(8) MULTIPLY(9) MULTIPLY(10) MULTIPLY(11) ADD(6, 0) ADD(7, 1) ADD(8, 2)
                   ADD(9, 3) ADD(10, 4) ADD(11, 5)
#undef ADD
#undef MULTIPLY
                       "dec %0\n\tjnz 1b\n\tvzeroupper"
               : "+r"(turns)
               :
               : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                 "xmm14", "xmm15");
  return 6.0 * 16 * kTurns;
}

#elif defined(__aarch64__)

// 12 x 16
double sdot() {
  long turns = kTurns;
  asm volatile(".arch_extension dotprod\n\tmovi v30.16b, #0\n\tmovi v31.16b, #0\n1:\n\t"
#define DOT(n) "sdot v" #n ".4s, v30.16b, v31.16b\n\t"
               DOT(0) DOT(1) DOT(2) DOT(3) DOT(4) DOT(5) DOT(6) DOT(7) DOT(16) DOT(17) DOT(18) DOT(19)
#undef DOT
                   "subs %0, %0, #1\n\tb.ne 1b"
               : "+r"(turns)
               :
               : "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v30", "v31");
  return 12.0 * 16 * kTurns;
}

#endif

using Loop = double (*)();

struct Instruction {
  const char* name;
  Loop loop;
};

constexpr Instruction kInstructions[] = {
#if defined(__x86_64__)
    {"vpdpbusd", vpdpbusd},
    {"vpmaddwd", vpmaddwd},
#elif defined(__aarch64__)
    {"sdot", sdot},
#endif
    {"", nullptr}};

}  // namespace

// Multiply-accumulates a second, the best of several short loops; 0 for an instruction this file does not know. The
// caller knows that the processor has it.
extern "C" __attribute__((visibility("default"))) double timing_limit(const char* name) {
  Loop loop = nullptr;
  for (const Instruction& one : kInstructions)
    if (!std::strcmp(one.name, name)) loop = one.loop;
  if (!loop) return 0;
  double best = 0;
  for (int i = 0; i < 20; ++i) {
    const double began = timing::now(), done = loop();
    const double rate = done / (timing::now() - began);
    best = rate > best ? rate : best;
  }
  return best;
}
