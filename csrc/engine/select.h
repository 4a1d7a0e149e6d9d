// Which kernel runs a call on this machine, and why no faster one.
#pragma once

#include <optional>
#include <string>

#include "../dispatch.h"
#include "invocation.h"

namespace edgekit {

struct choice {
  const Kernel* kernel;  // null: the call's mover
  std::string reason;    // why a faster tier was not taken; empty where none exists
};

// Throws failure: a word that is not known, or an instruction set that this machine lacks.
std::optional<Isa> forced_isa(const char* name);

choice select(invocation& own, std::optional<Isa> forced);

// Whether bytes of s8 activations of a call hold q + 128, q, or either, as long as all agree; a mover that turns one
// form into the other takes any.
enum class sign_rule { plain, biased, shared, any };
sign_rule sign_rule_of(const invocation& own, const choice& chosen);

}  // namespace edgekit
