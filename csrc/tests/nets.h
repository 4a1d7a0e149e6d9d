// Small nets for the native tests: together they hold every kind of operation that a plan knows.
#pragma once

#include <functional>

#include "plan_writer.h"

namespace edgekit::test {

// A classifier of float images [1, 3, side, side]: convolutions with halos, a residual, pools, a linear layer, softmax.
Bytes image_net(i64 side);
// A GRU and an LSTM that keep their states from one run to the next; input s8 [1, 1, 8].
Bytes recurrent_net();
// Rows of a table by index s64 [4]: an index outside 0..6 fails the run.
Bytes table_net();
// Every other kind on bytes, on pieces of 16 to 256 values; input s8 [4, 16].
Bytes pieces_net();
// The float words that go value by value or over dimensions, and the movers on their elements; inputs f32 [4, 16],
// s64 [4, 1] and boolean [4, 16].
Bytes floats_net();
// The float words with weights, windows or time, between bytes; input s8 [1, 4, 8, 8].
Bytes islands_net();

struct Net {
  const char* name;
  std::function<Bytes()> make;
};
const std::vector<Net>& nets();

}  // namespace edgekit::test
