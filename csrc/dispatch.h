// Picks the kernel that runs an operator on this machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "isa.h"
#include "ops.h"
#include "ops_sequences.h"
#include "part.h"

namespace edgekit {

// What a kernel needs or offers beyond <function>(args); each flag stands for one more function or one demand on args.
constexpr std::uint32_t kNoFlags = 0;
constexpr std::uint32_t kParts = 1;    // <function>(args, part): several threads share a call
constexpr std::uint32_t kScratch = 2;  // <function>_scratch(args): bytes of part.scratch; such a kernel has kParts
constexpr std::uint32_t kPacked = 4;   // <function>_packed(args), <function>_pack(args, to): makes args.packed
constexpr std::uint32_t kChooses = 8;  // <function>_refuses(args): why it does not take these; null where it does
constexpr std::uint32_t kImages = 16;  // of images whose channels are last
constexpr std::uint32_t kHalo = 128;   // padding is read from memory around the image
constexpr std::uint32_t kBiased = 32;  // bytes of activations hold q + 128; args.flip is 0x80
constexpr std::uint32_t kFlips = 64;   // bytes of activations hold q ^ args.flip, which may be 0 or 0x80

// One row of kernels.def. Every function takes the <op>_args struct of `op`; the table's expansion has checked the
// type.
struct Kernel {
  const char* op;
  Isa isa;
  const char* function;
  std::uint32_t flags;
  void (*call)(const void* args, const part& part);
  std::size_t (*scratch)(const void* args);  // 0 without kScratch
  std::size_t (*packed)(const void* args);   // 0 without kPacked
  void (*pack)(const void* args, void* to);  // does nothing without kPacked
  const char* (*refuses)(const void* args);  // null: takes them
};

const std::vector<Kernel>& kernels();

// The last row (rows go from plain to preferred) of the forced ISA, or of all that this machine runs, that takes the
// arguments; the plainest, which takes all, where the forced one refuses them. Throws std::invalid_argument where this
// machine runs none.
const Kernel& pick(const std::string& op, const std::optional<std::string>& forced, const void* args);

// Runs a kernel in the calling thread, with scratch.
void call(const Kernel& kernel, const void* args);

// Runs an operator in the calling thread on arrays as numpy and torch have them: dense, channels first, bytes of q.
// What a kernel wants otherwise is copied for it.
void run_as(const Kernel& kernel, const linear_s8_args& args);
void run_as(const Kernel& kernel, const matmul_s8_args& args);
void run_as(const Kernel& kernel, const conv2d_s8_args& args);
void run_as(const Kernel& kernel, const avg_pool_s8_args& args);
void run_as(const Kernel& kernel, const max_pool_s8_args& args);
void run_as(const Kernel& kernel, const gru_s8_args& args);
void run_as(const Kernel& kernel, const lstm_s8_args& args);

template <class Args>
void run_as(const Kernel& kernel, const Args& args) {
  call(kernel, &args);
}

template <class Args>
void run(const Args& args, const std::optional<std::string>& forced = std::nullopt) {
  run_as(pick(Args::op, forced, &args), args);
}

}  // namespace edgekit
