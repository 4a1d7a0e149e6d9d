// Three planes of bytes become pixels of three. Inlined into functions of each tier's target.
#pragma once

#include <cstdint>

#include "planes.h"

#if defined(__x86_64__)
#include "avx2.h"
#define EDGEKIT_WEAVE EDGEKIT_AVX2
#elif defined(__aarch64__)
#include <arm_neon.h>
#define EDGEKIT_WEAVE __attribute__((always_inline)) inline
#endif

#if defined(EDGEKIT_WEAVE)

namespace edgekit::planes {

#if defined(__x86_64__)

// Byte `at` of 48 is value at / 3 of plane at % 3. Since 3 * 11 = 2 * 16 + 1, the sixteen values of a plane have their
// places at sixteen different bytes of a vector, whichever vector it is: one shuffle brings them all there.
struct Weave {
  alignas(16) std::int8_t place[3][16] = {};  // of each plane: which value stands at a byte
  alignas(16) std::int8_t taken[3][16] = {};  // -1 at each byte of the first vector that is of the plane

  constexpr Weave() {
    for (int plane = 0; plane < 3; ++plane)
      for (int at = 0; at < 16; ++at) {
        place[plane][at] = static_cast<std::int8_t>((at - plane + 16) * 11 % 16);
        taken[plane][at] = at % 3 == plane ? -1 : 0;
      }
  }
};
inline constexpr Weave kWeave;

EDGEKIT_AVX2 __m128i load(const std::int8_t* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}

// Sixteen pixels. Each vector begins one plane further than the one before it.
EDGEKIT_WEAVE void weave_sixteen(const std::int8_t* planes, std::int8_t* out) {
  __m128i value[3];
  for (int plane = 0; plane < 3; ++plane)
    value[plane] = _mm_shuffle_epi8(load(planes + plane * kPiece), load(kWeave.place[plane]));
  const __m128i second = load(kWeave.taken[1]), third = load(kWeave.taken[2]);
  for (int vector = 0; vector < 3; ++vector) {
    const __m128i a = value[vector], b = value[(vector + 1) % 3], c = value[(vector + 2) % 3];
    const __m128i pixels = _mm_blendv_epi8(_mm_blendv_epi8(a, b, second), c, third);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + vector * 16), pixels);
  }
}

#else

EDGEKIT_WEAVE void weave_sixteen(const std::int8_t* planes, std::int8_t* out) {
  vst3q_s8(out, {{vld1q_s8(planes), vld1q_s8(planes + kPiece), vld1q_s8(planes + 2 * kPiece)}});
}

#endif

// The last sixteen may overlap those before them, where the same is written again.
EDGEKIT_WEAVE void weave(const std::int8_t* planes, std::int64_t count, std::int8_t* out) {
  if (count < 16) {
    for (std::int64_t at = 0; at < 3 * count; ++at) out[at] = planes[at % 3 * kPiece + at / 3];
    return;
  }
  weave_sixteen(planes + count - 16, out + 3 * (count - 16));
  for (std::int64_t at = 0; at + 16 < count; at += 16) weave_sixteen(planes + at, out + 3 * at);
}

}  // namespace edgekit::planes

#endif
