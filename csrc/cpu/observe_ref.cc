// observe, normative: extremes, counts and a histogram of magnitudes; additions of whole numbers, so any order is
// right.
#include "../observe.h"

namespace edgekit {

void observe_ref(const observe_args& args) {
  observe(args);
}

}  // namespace edgekit
