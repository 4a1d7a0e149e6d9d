// The walk of quantize_s8 from the layout of x to that of out, shared by all tiers, which bring their arithmetic.
#pragma once

#include <cstdint>

#include "ops.h"
#include "part.h"

namespace edgekit::planes {

constexpr std::int64_t kPiece = 256;  // pixels whose planes wait in a buffer, so that all arithmetic is on neighbours

// Functions of a tier: as pointers, so that the walk is compiled once, for any processor.
struct tier {
  // Quantises `count` neighbours to neighbouring bytes.
  void (*line)(const quantize_s8_args& args, const float* x, std::int64_t count, std::int8_t* out);
  // Makes `count` pixels of three planes, which lie kPiece apart: 3 * count bytes of out, and no more.
  void (*weave)(const std::int8_t* planes, std::int64_t count, std::int8_t* out);
};

// Where planes become channels last, the planes of a piece are quantised one by one and then put side by side.
void quantize(const quantize_s8_args& args, const part& part, const tier& by);

inline const char* refuses(const quantize_s8_args& args) {
  return args.channels == 1 ? nullptr : "a scale for each channel";
}

}  // namespace edgekit::planes
