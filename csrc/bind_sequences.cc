// The part of edgekit._C that works on rows and sequences: softmax, norms, recurrent layers. Rules: bind.cc.
#include "bind.h"

namespace edgekit {

void bind_sequences(py::module_&) {}

}  // namespace edgekit
