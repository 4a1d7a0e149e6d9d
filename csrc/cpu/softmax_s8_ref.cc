// softmax_s8, normative: out = sat8(rne(float32(T[max - q]) * r)), r = float32(1 / (float64(S) * float64(sy))).
// S = sum T[max - q] over what takes part: fewer than 2^24 entries below 2^31, so int64 holds it.
#include <algorithm>

#include "../ops_sequences.h"
#include "../requant.h"

namespace edgekit {

namespace {

// One row: its values, where its mask begins, and where its results go.
struct Row {
  const std::int8_t* x;
  const std::uint8_t* mask;
  std::int8_t* out;
};

void softmax_row(const softmax_s8_args& args, Row row) {
  const auto taken = [&](std::int64_t i) { return !row.mask || row.mask[i * args.mask_stride]; };
  int top = -128;
  for (std::int64_t i = 0; i < args.length; ++i) {
    if (taken(i)) top = std::max<int>(top, row.x[i]);
  }
  std::int64_t total = 0;
  for (std::int64_t i = 0; i < args.length; ++i) {
    if (taken(i)) total += args.table[top - row.x[i]];
  }
  const float r = static_cast<float>(1.0 / (static_cast<double>(total) * args.output_scale));
  for (std::int64_t i = 0; i < args.length; ++i) {
    row.out[i] = taken(i) ? saturate(static_cast<float>(args.table[top - row.x[i]]) * r, -128, 127) : 0;
  }
}

}  // namespace

void softmax_s8_ref(const softmax_s8_args& args) {
  const softmax_s8_args own = args;  // a copy, since a store of bytes might change what args points to
  for (std::int64_t row = 0; row < own.rows; ++row) {
    const std::uint8_t* mask = own.mask ? own.mask + own.mask_rows[row] : nullptr;
    softmax_row(own, {own.x + row * own.length, mask, own.out + row * own.length});
  }
}

}  // namespace edgekit
