#include "dispatch.h"

#include "ops.h"
#include "ops_sequences.h"

namespace edgekit {

#define EDGEKIT_KERNEL(op, isa, function, flags) void function(const op##_args&);
#include "kernels.def"
#undef EDGEKIT_KERNEL

namespace {

// Erases the type of the arguments. A row whose function takes another operator's does not compile.
template <class Args, void (*Function)(const Args&)>
void erased(const void* args) {
  Function(*static_cast<const Args*>(args));
}

}  // namespace

const std::vector<Kernel>& kernels() {
#define EDGEKIT_KERNEL(op, isa, function, flags) {#op, Isa::isa, #function, flags, erased<op##_args, function>},
  static const std::vector<Kernel> table = {
#include "kernels.def"
  };
#undef EDGEKIT_KERNEL
  return table;
}

const Kernel& pick(const std::string& op, const std::optional<std::string>& forced) {
  const Kernel* chosen = nullptr;
  for (const Kernel& kernel : kernels()) {
    const bool wanted = kernel.op == op && (!forced || *forced == name(kernel.isa));
    if (wanted && (isa_flags() & bit(kernel.isa))) chosen = &kernel;
  }
  if (chosen) return *chosen;
  throw std::invalid_argument(op + ": this machine runs no kernel" + (forced ? " for isa " + *forced : std::string()));
}

}  // namespace edgekit
