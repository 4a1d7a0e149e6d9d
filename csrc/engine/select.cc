#include "select.h"

#include "failure.h"

namespace edgekit {

namespace {

// Why no kernel of this instruction set may run, whatever the call; null where one may.
const char* lacking(Isa isa, std::optional<Isa> forced) {
  if (forced && isa > *forced) return "a plainer instruction set was asked for";
  return isa_flags() & bit(isa) ? nullptr : "this machine lacks its instructions";
}

// Why a kernel cannot run the call; null where it can.
const char* refusal(const Kernel& kernel, invocation& own) {
  if ((kernel.flags & kImages) && !own.channels_last) return "its images do not have channels side by side";
  if ((kernel.flags & kHalo) && !own.halo) return "its padding does not lie in memory";
  const bool flips = (kernel.flags & (kBiased | kFlips)) != 0;
  if (flips && own.flip == kNowhere) return "its activations have no sign to flip";
  if (own.flip != kNowhere) own.args[own.flip] = kernel.flags & kBiased ? 0x80 : 0;
  return kernel.refuses(own.args);
}

}  // namespace

std::optional<Isa> forced_isa(const char* wanted) {
  if (!wanted) return std::nullopt;
  for (const Isa isa : kAllIsas) {
    if (std::string(name(isa)) != wanted) continue;
    if (isa_flags() & bit(isa)) return isa;
    throw failure(EK_UNSUPPORTED, std::string("This machine lacks the instruction set ") + wanted +
                                      ". Leave isa out to take the best it has.");
  }
  throw failure(EK_BAD_ARGUMENT, std::string("There is no instruction set '") + wanted +
                                     "'. It is ref, avx2, avx512vnni, neondot or neoni8mm.");
}

choice select(invocation& own, std::optional<Isa> forced) {
  if (!own.word) return {nullptr, ""};
  choice result = {nullptr, ""};
  for (const Kernel& kernel : kernels()) {
    if (std::strcmp(kernel.op, own.word) != 0) continue;
    if (const char* why = lacking(kernel.isa, forced)) {
      if (result.reason.empty()) result.reason = std::string(kernel.function) + ": " + why;  // the call's own says more
    } else if ((why = refusal(kernel, own))) {
      result.reason = std::string(kernel.function) + ": " + why;
    } else {
      result = {&kernel, ""};
    }
  }
  if (!result.kernel)
    throw failure(EK_UNSUPPORTED, std::string("No kernel of ") + own.word + " runs here: " + result.reason + ".");
  if (own.flip != kNowhere) own.args[own.flip] = result.kernel->flags & kBiased ? 0x80 : 0;
  return result;
}

sign_rule sign_rule_of(const invocation& own, const choice& chosen) {
  if (!chosen.kernel)
    return own.flip == kNowhere ? sign_rule::plain : own.shared_flip ? sign_rule::shared : sign_rule::any;
  if (chosen.kernel->flags & kBiased) return sign_rule::biased;
  return chosen.kernel->flags & kFlips ? sign_rule::shared : sign_rule::plain;
}

}  // namespace edgekit
