// Questions about a tensor of a plan: how many elements, where its bytes lie, whether two of them share any.
#pragma once

#include <cstddef>

#include "plan.h"

namespace edgekit {

using plan::i64;
using plan::tensor;
using plan::u32;
using plan::u64;

// Bytes [begin, end) of a storage; empty where nothing is there.
struct byte_range {
  u64 begin, end;
};

constexpr bool meet(byte_range a, byte_range b) {
  return a.begin < b.end && b.begin < a.end;
}

u64 bytes_of(plan::type type);
const char* name(plan::type type);

// These rely on verify.cc having looked at the tensor alone: nothing overflows.
i64 elements(const tensor& t);
bool same_sizes(const tensor& a, const tensor& b);
bool same_view(const tensor& a, const tensor& b);  // the same bytes in the same order
bool is_dense(const tensor& t);                    // in C order, nothing between
bool fills_its_range(const tensor& t);             // in any order, nothing between
bool repeats(const tensor& t);                     // reads an element twice: a step of 0
bool may_overlap_itself(const tensor& t);          // false only where it is certain
byte_range range_of(const tensor& t);              // in its storage; of a port, in the port
bool apart(const tensor& a, const tensor& b);      // share no byte; true only where it is certain

// An image [N, H, W, C] with this much around it; where the result leaves the region, `inside` is false.
struct framed {
  tensor image;
  bool inside;
};
framed with_frame(const tensor& image, i64 top, i64 left, i64 bottom, i64 right);

// The same tensor seen with its dimensions in another order.
template <std::size_t N>
tensor permuted(const tensor& t, const u32 (&order)[N]) {
  tensor result = t;
  for (std::size_t d = 0; d < N; ++d) {
    result.size[d] = t.size[order[d]];
    result.step[d] = t.step[order[d]];
  }
  return result;
}

}  // namespace edgekit
