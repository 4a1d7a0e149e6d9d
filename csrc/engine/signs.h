// In which form each s8 operand lies in memory: q, or q + 128 where a kernel wants that.
//
// The form belongs to memory, not to a tensor: several views may look at the same bytes. What an operation reads has
// the form in which it was written, so all that is written before and read together has one form.
#pragma once

#include <vector>

#include "invocation.h"
#include "select.h"

namespace edgekit {

// 0 or 0x80 for each pointer of each call.
std::vector<std::vector<std::uint8_t>> signs_of(const std::vector<invocation>& calls,
                                                const std::vector<choice>& choices);

}  // namespace edgekit
