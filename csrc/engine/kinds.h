// plan.def expanded: the kinds of operations, how many operands each takes, and the struct of its attributes.
#pragma once

#include <cstddef>

#include "plan.h"

namespace edgekit::plan {

enum class kind : u32 {
#define PLAN_OPERATION(name, most, fewest, outputs, fields) name,
#include "plan.def"
#undef PLAN_OPERATION
  count
};

// attributes::<kind>, as it lies in the attributes section.
namespace attributes {
#define F(type, name) type name;
#define PLAN_OPERATION(name, most, fewest, outputs, fields) \
  struct name {                                             \
    fields                                                  \
  };                                                        \
  static_assert(sizeof(name) % 8 == 0, "the next one has to be aligned");
#include "plan.def"
#undef PLAN_OPERATION
#undef F
}  // namespace attributes

struct kind_row {
  const char* name;
  u32 most, fewest, outputs;
  u64 attribute_bytes;
};

constexpr kind_row kKinds[] = {
#define PLAN_OPERATION(name, most, fewest, outputs, fields) {#name, most, fewest, outputs, sizeof(attributes::name)},
#include "plan.def"
#undef PLAN_OPERATION
};

}  // namespace edgekit::plan
