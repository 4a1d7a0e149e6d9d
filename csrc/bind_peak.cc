// How many multiply-accumulates a core can do: independent accumulators in registers, no memory. Each loop is the
// instruction that a tier multiplies with, and what it needs to sum up in 32 bits without saturating.
//
// For measurements only, so it is part of edgekit._C and of no library.
#include <pybind11/pybind11.h>

#include <chrono>
#include <cstring>
#include <string>

#include "isa.h"

namespace edgekit {

namespace py = pybind11;

namespace {

constexpr long kTurns = 100000;  // a fraction of a millisecond

#if defined(__x86_64__)

#define CLOBBERS                                                                                                   \
  "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm14", \
      "xmm15"
#define TWELVE(ONE) ONE(0) ONE(1) ONE(2) ONE(3) ONE(4) ONE(5) ONE(6) ONE(7) ONE(8) ONE(9) ONE(10) ONE(11)
#define ZEROS "vpxor %%xmm14, %%xmm14, %%xmm14\n\tvpxor %%xmm15, %%xmm15, %%xmm15\n1:\n\t"
#define AGAIN "dec %0\n\tjnz 1b\n\tvzeroupper"

// 12 x 64
double vpdpbusd() {
  long turns = kTurns;
#define DOT(n) "vpdpbusd %%zmm14, %%zmm15, %%zmm" #n "\n\t"
  asm volatile(ZEROS TWELVE(DOT) AGAIN : "+r"(turns) : : CLOBBERS);
#undef DOT
  return 12.0 * 64 * kTurns;
}

// 6 x 16: two products of 16 bits are summed in the instruction, and it takes another to add them up.
double vpmaddwd() {
  long turns = kTurns;
#define MULTIPLY(n) "vpmaddwd %%ymm14, %%ymm15, %%ymm" #n "\n\t"
#define ADD(n, m) "vpaddd %%ymm" #n ", %%ymm" #m ", %%ymm" #m "\n\t"
  asm volatile(ZEROS MULTIPLY(6) MULTIPLY(7) MULTIPLY(8) MULTIPLY(9) MULTIPLY(10) MULTIPLY(11) ADD(6, 0) ADD(7, 1)
                   ADD(8, 2) ADD(9, 3) ADD(10, 4) ADD(11, 5) AGAIN
               : "+r"(turns)
               :
               : CLOBBERS);
#undef ADD
#undef MULTIPLY
  return 6.0 * 16 * kTurns;
}

// 12 x 8; the accumulators begin at zero, since what a register holds may be subnormal, and slow.
double vfmadd231ps_ymm() {
  long turns = kTurns;
#define CLEAR(n) "vpxor %%xmm" #n ", %%xmm" #n ", %%xmm" #n "\n\t"
#define FMA(n) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #n "\n\t"
  asm volatile(TWELVE(CLEAR) ZEROS TWELVE(FMA) AGAIN : "+r"(turns) : : CLOBBERS);
#undef FMA
  return 12.0 * 8 * kTurns;
}

// 12 x 16
double vfmadd231ps_zmm() {
  long turns = kTurns;
#define FMA(n) "vfmadd231ps %%zmm14, %%zmm15, %%zmm" #n "\n\t"
  asm volatile(TWELVE(CLEAR) ZEROS TWELVE(FMA) AGAIN : "+r"(turns) : : CLOBBERS);
#undef FMA
#undef CLEAR
  return 12.0 * 16 * kTurns;
}

#elif defined(__aarch64__)

#define CLOBBERS "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v30", "v31"
#define TWELVE(ONE) ONE(0) ONE(1) ONE(2) ONE(3) ONE(4) ONE(5) ONE(6) ONE(7) ONE(16) ONE(17) ONE(18) ONE(19)
#define ZEROS "movi v30.16b, #0\n\tmovi v31.16b, #0\n1:\n\t"
#define AGAIN "subs %0, %0, #1\n\tb.ne 1b"

// 12 x 16
double sdot() {
  long turns = kTurns;
#define DOT(n) "sdot v" #n ".4s, v30.16b, v31.16b\n\t"
  asm volatile(".arch armv8.2-a+dotprod\n\t" ZEROS TWELVE(DOT) AGAIN : "+r"(turns) : : CLOBBERS);
#undef DOT
  return 12.0 * 16 * kTurns;
}

// 12 x 4; the accumulators begin at zero, since what a register holds may be subnormal, and slow.
double fmla() {
  long turns = kTurns;
#define CLEAR(n) "movi v" #n ".16b, #0\n\t"
#define FMA(n) "fmla v" #n ".4s, v30.4s, v31.4s\n\t"
  asm volatile(TWELVE(CLEAR) ZEROS TWELVE(FMA) AGAIN : "+r"(turns) : : CLOBBERS);
#undef FMA
#undef CLEAR
  return 12.0 * 4 * kTurns;
}

#endif

struct Instruction {
  const char* name;
  const char* operands;  // their type
  Isa isa;               // the tier that multiplies with it, or that stands for the registers it needs
  double (*loop)();      // returns the multiply-accumulates done
};

constexpr Instruction kInstructions[] = {
#if defined(__x86_64__)
    {"vpmaddwd", "int8", Isa::avx2, vpmaddwd},
    {"vfmadd231ps ymm", "float32", Isa::avx2, vfmadd231ps_ymm},
    {"vpdpbusd zmm", "int8", Isa::avx512vnni, vpdpbusd},
    {"vfmadd231ps zmm", "float32", Isa::avx512vnni, vfmadd231ps_zmm},
#elif defined(__aarch64__)
    {"fmla", "float32", Isa::ref, fmla},
    {"sdot", "int8", Isa::neondot, sdot},
#endif
    {"", "", Isa::ref, nullptr}};

bool available(const Instruction& one) {
  return (isa_flags() & bit(one.isa)) != 0;
}

py::list instructions() {
  using namespace pybind11::literals;
  py::list rows;
  for (const Instruction& one : kInstructions) {
    if (one.loop)
      rows.append(py::dict("name"_a = one.name, "operands"_a = one.operands, "isa"_a = name(one.isa),
                           "available"_a = available(one)));
  }
  return rows;
}

double seconds_of(double (*loop)(), double& done) {
  const auto began = std::chrono::steady_clock::now();
  done = loop();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

// The best of several short loops: a slower one was interrupted.
double instruction_rate(const std::string& wanted) {
  for (const Instruction& one : kInstructions) {
    if (!one.loop || wanted != one.name) continue;
    if (!available(one)) throw py::value_error("this processor has no " + std::string(name(one.isa)));
    double best = 0, done = 0;
    for (int i = 0; i < 20; ++i) {
      const double seconds = seconds_of(one.loop, done);
      best = done / seconds > best ? done / seconds : best;
    }
    return best;
  }
  throw py::value_error("no instruction is called " + wanted);
}

}  // namespace

void bind_peak(py::module_& m) {
  m.def("instructions", &instructions,
        "The instructions whose rate can be measured, and whether this machine has them.");
  m.def("instruction_rate", &instruction_rate, pybind11::arg("name"),
        "Multiply-accumulates a second of one core, on registers alone.");
}

}  // namespace edgekit
