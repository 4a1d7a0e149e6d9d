#include "dispatch.h"

namespace edgekit {

#define EDGEKIT_KERNEL(op, isa, function, flags)    \
  void function(const op##_args&);                  \
  void function(const op##_args&, const part&);     \
  std::size_t function##_scratch(const op##_args&); \
  std::size_t function##_packed(const op##_args&);  \
  void function##_pack(const op##_args&, void*);    \
  const char* function##_refuses(const op##_args&);
#include "kernels.def"
#undef EDGEKIT_KERNEL

const std::vector<Kernel>& kernels() {
// The lambdas erase the type of the arguments; a row whose function takes another operator's does not compile.
#define EDGEKIT_KERNEL(op, isa, function, flags)                        \
  {#op,                                                                 \
   Isa::isa,                                                            \
   #function,                                                           \
   flags,                                                               \
   [](const void* args, const part& part) {                             \
     const auto& own = *static_cast<const op##_args*>(args);            \
     if constexpr (((flags) & kParts) != 0) {                           \
       function(own, part);                                             \
     } else if (part.index == 0) {                                      \
       function(own);                                                   \
     }                                                                  \
   },                                                                   \
   [](const void* args) -> std::size_t {                                \
     if constexpr (((flags) & kScratch) != 0) {                         \
       return function##_scratch(*static_cast<const op##_args*>(args)); \
     } else {                                                           \
       return 0;                                                        \
     }                                                                  \
   },                                                                   \
   [](const void* args) -> std::size_t {                                \
     if constexpr (((flags) & kPacked) != 0) {                          \
       return function##_packed(*static_cast<const op##_args*>(args));  \
     } else {                                                           \
       return 0;                                                        \
     }                                                                  \
   },                                                                   \
   [](const void* args, void* to) {                                     \
     if constexpr (((flags) & kPacked) != 0) {                          \
       function##_pack(*static_cast<const op##_args*>(args), to);       \
     }                                                                  \
   },                                                                   \
   [](const void* args) -> const char* {                                \
     if constexpr (((flags) & kChooses) != 0) {                         \
       return function##_refuses(*static_cast<const op##_args*>(args)); \
     } else {                                                           \
       return nullptr;                                                  \
     }                                                                  \
   }},
  static const std::vector<Kernel> table = {
#include "kernels.def"
  };
#undef EDGEKIT_KERNEL
  return table;
}

const Kernel& pick(const std::string& op, const std::optional<std::string>& forced, const void* args) {
  const Kernel *chosen = nullptr, *plainest = nullptr;
  bool refused = false;
  for (const Kernel& kernel : kernels()) {
    if (kernel.op != op || !(isa_flags() & bit(kernel.isa))) continue;
    if (!plainest) plainest = &kernel;
    if (forced && *forced != name(kernel.isa)) continue;
    if (kernel.refuses(args)) {
      refused = true;
    } else {
      chosen = &kernel;
    }
  }
  if (!chosen && refused) chosen = plainest;
  if (chosen) return *chosen;
  throw std::invalid_argument(op + ": this machine runs no kernel" + (forced ? " for isa " + *forced : std::string()));
}

}  // namespace edgekit
