// Vectors that the depthwise kernels of the AVX-512 VNNI tier are written for. Where channels do not fill 512 bits, 256
// bits take half the time on processors that take the wider ones in two halves.
//
//   Whole     64 channels
//   Masked    up to 64 channels
//   Skipping  the same, of pixels side by side that are every second one of x
//   Half      up to 32 channels
//   Pair      up to 16 channels of two results
#pragma once

#if defined(__x86_64__)

#include <cstdint>
#include <type_traits>

#include "depthwise_vnni_layout.h"
#include "vnni.h"

namespace edgekit::vnni {

struct Strip {
  const conv2d_s8_args& args;
  const std::uint8_t* block;      // packed filters of these channels
  int groups;                     // as packed
  __mmask64 channels;             // that exist
  std::int64_t column[kColumns];  // where each column of a window begins; one with weight 0 reads another that is there
  std::int64_t row_step;          // from one row of a window to the next
  std::int64_t x_step, out_step, added_step;  // from one result of a row to the next
  __mmask64 wanted[2];                        // of 128 bytes of x, those up to the last one of every second pixel
  alignas(64) std::uint16_t second[32];       // every second pixel, in pairs of bytes
};

struct Wide {
  using Ints = __m512i;
  using Floats = __m512;
  static EDGEKIT_VNNI Ints ints(const void* from) { return _mm512_loadu_si512(from); }
  static EDGEKIT_VNNI Floats floats(const void* from) { return _mm512_loadu_ps(from); }
  static EDGEKIT_VNNI Ints low8(Ints a, Ints b) { return _mm512_unpacklo_epi8(a, b); }
  static EDGEKIT_VNNI Ints high8(Ints a, Ints b) { return _mm512_unpackhi_epi8(a, b); }
  static EDGEKIT_VNNI Ints low16(Ints a, Ints b) { return _mm512_unpacklo_epi16(a, b); }
  static EDGEKIT_VNNI Ints high16(Ints a, Ints b) { return _mm512_unpackhi_epi16(a, b); }
  static EDGEKIT_VNNI Ints dot(Ints sum, Ints x, Ints w) { return _mm512_dpbusd_epi32(sum, x, w); }
  static EDGEKIT_VNNI Floats to_floats(Ints x) { return _mm512_cvtepi32_ps(x); }
  static EDGEKIT_VNNI Floats times(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static EDGEKIT_VNNI Ints to_ints(Floats x) { return _mm512_cvtps_epi32(x); }
  static EDGEKIT_VNNI Ints packed(const Ints (&x)[4], const Finish& finish) {
    return pack(x[0], x[1], x[2], x[3], finish);
  }
  static EDGEKIT_VNNI __m512i widened(Ints x) { return x; }
  static EDGEKIT_VNNI __m512 widened(Floats x) { return x; }
  static EDGEKIT_VNNI Ints narrowed(__m512i x) { return x; }
};

struct Narrow {
  using Ints = __m256i;
  using Floats = __m256;
  static EDGEKIT_VNNI Ints ints(const void* from) { return _mm256_loadu_si256(static_cast<const Ints*>(from)); }
  static EDGEKIT_VNNI Floats floats(const void* from) { return _mm256_loadu_ps(static_cast<const float*>(from)); }
  static EDGEKIT_VNNI Ints low8(Ints a, Ints b) { return _mm256_unpacklo_epi8(a, b); }
  static EDGEKIT_VNNI Ints high8(Ints a, Ints b) { return _mm256_unpackhi_epi8(a, b); }
  static EDGEKIT_VNNI Ints low16(Ints a, Ints b) { return _mm256_unpacklo_epi16(a, b); }
  static EDGEKIT_VNNI Ints high16(Ints a, Ints b) { return _mm256_unpackhi_epi16(a, b); }
  static EDGEKIT_VNNI Ints dot(Ints sum, Ints x, Ints w) { return _mm256_dpbusd_epi32(sum, x, w); }
  static EDGEKIT_VNNI Floats to_floats(Ints x) { return _mm256_cvtepi32_ps(x); }
  static EDGEKIT_VNNI Floats times(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static EDGEKIT_VNNI Ints to_ints(Floats x) { return _mm256_cvtps_epi32(x); }
  static EDGEKIT_VNNI Ints packed(const Ints (&x)[4], const Finish& finish) {
    const Ints bytes = _mm256_packs_epi16(_mm256_packs_epi32(x[0], x[1]), _mm256_packs_epi32(x[2], x[3]));
    const Ints bound = _mm256_max_epi8(bytes, narrowed(finish.least));
    return _mm256_xor_si256(_mm256_min_epi8(bound, narrowed(finish.most)), narrowed(finish.flip));
  }
  static EDGEKIT_VNNI __m512i widened(Ints x) { return _mm512_castsi256_si512(x); }
  static EDGEKIT_VNNI __m512 widened(Floats x) { return _mm512_castps256_ps512(x); }
  static EDGEKIT_VNNI Ints narrowed(__m512i x) { return _mm512_castsi512_si256(x); }
};

// load() and store() take the bytes of kPixels results that are `apart`; kShares where results may share columns.
struct Whole : Wide {
  static constexpr int kPixels = 1;
  static constexpr bool kShares = true;
  static EDGEKIT_VNNI Ints load(const std::uint8_t* from, const Strip&, std::int64_t) {
    return _mm512_loadu_si512(from);
  }
  static EDGEKIT_VNNI void store(std::uint8_t* to, const Strip&, std::int64_t, Ints bytes) {
    _mm512_storeu_si512(to, bytes);
  }
};

struct Masked : Wide {
  static constexpr int kPixels = 1;
  static constexpr bool kShares = true;
  static EDGEKIT_VNNI Ints load(const std::uint8_t* from, const Strip& strip, std::int64_t) {
    return _mm512_maskz_loadu_epi8(strip.channels, from);
  }
  static EDGEKIT_VNNI void store(std::uint8_t* to, const Strip& strip, std::int64_t, Ints bytes) {
    _mm512_mask_storeu_epi8(to, strip.channels, bytes);
  }
};

struct Skipping : Masked {
  static constexpr bool kShares = false;
  static EDGEKIT_VNNI Ints every_second(const std::uint8_t* from, const Strip& strip) {
    const Ints low = _mm512_maskz_loadu_epi8(strip.wanted[0], from);
    const Ints high = _mm512_maskz_loadu_epi8(strip.wanted[1], from + 64);
    return _mm512_permutex2var_epi16(low, ints(strip.second), high);
  }
};

struct Half : Narrow {
  static constexpr int kPixels = 1;
  static constexpr bool kShares = true;
  static EDGEKIT_VNNI Ints load(const std::uint8_t* from, const Strip& strip, std::int64_t) {
    return _mm256_maskz_loadu_epi8(static_cast<__mmask32>(strip.channels), from);
  }
  static EDGEKIT_VNNI void store(std::uint8_t* to, const Strip& strip, std::int64_t, Ints bytes) {
    _mm256_mask_storeu_epi8(to, static_cast<__mmask32>(strip.channels), bytes);
  }
};

struct Pair : Narrow {
  static constexpr int kPixels = 2;
  static constexpr bool kShares = true;
  using Single = Half;
  static EDGEKIT_VNNI Ints load(const std::uint8_t* from, const Strip& strip, std::int64_t apart) {
    const auto channels = static_cast<__mmask16>(strip.channels);
    const __m128i upper = _mm_maskz_loadu_epi8(channels, from), lower = _mm_maskz_loadu_epi8(channels, from + apart);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(upper), lower, 1);
  }
  static EDGEKIT_VNNI void store(std::uint8_t* to, const Strip& strip, std::int64_t apart, Ints bytes) {
    const auto channels = static_cast<__mmask16>(strip.channels);
    _mm_mask_storeu_epi8(to, channels, _mm256_castsi256_si128(bytes));
    _mm_mask_storeu_epi8(to + apart, channels, _mm256_extracti128_si256(bytes, 1));
  }
};

// A column of the windows of results that are `apart` in x.
template <class V>
EDGEKIT_VNNI typename V::Ints column_of(const std::uint8_t* x, const Strip& strip, std::int64_t apart) {
  if constexpr (std::is_same_v<V, Skipping>) {
    return V::every_second(x, strip);
  } else {
    return V::load(x, strip, apart);
  }
}

}  // namespace edgekit::vnni

#endif
