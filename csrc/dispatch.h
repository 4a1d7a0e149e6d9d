// Picks the kernel that runs an operator on this machine.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "isa.h"

namespace edgekit {

// What a kernel demands beyond its operator; a row that carries a flag is skipped where the demand is not met.
constexpr std::uint32_t kNoFlags = 0;

// One row of kernels.def. `call` takes the <op>_args struct of `op`; the table's expansion has checked the type.
struct Kernel {
  const char* op;
  Isa isa;
  const char* function;
  std::uint32_t flags;
  void (*call)(const void* args);
};

const std::vector<Kernel>& kernels();

// The kernel of the forced ISA, or the last row that this machine runs (rows go from plain to preferred).
// Throws std::invalid_argument where there is none; says why.
const Kernel& pick(const std::string& op, const std::optional<std::string>& forced);

template <class Args>
void run(const Args& args, const std::optional<std::string>& forced = std::nullopt) {
  pick(Args::op, forced).call(&args);
}

}  // namespace edgekit
