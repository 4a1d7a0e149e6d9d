// sum_s8 for AVX-512, where neighbours in memory are kept: 64 of them at a time. Fewer than 2^24 bytes fit int32.
#include "../part.h"
#include "../plain.h"
#include "../vnni.h"

#if defined(__x86_64__)

namespace edgekit {

namespace {

using namespace vnni;

// Adds `count` times 64 neighbours, `step` apart; the sums stay in registers meanwhile.
EDGEKIT_VNNI_TARGET void add_bytes(__m512i (&sum)[4], const std::int8_t* x, std::int64_t count, std::int64_t step,
                                   __mmask64 taken, __m512i flip) {
  __m512i own[4] = {sum[0], sum[1], sum[2], sum[3]};
  for (std::int64_t i = 0; i < count; ++i) {
    const Quarters each = widened_all(_mm512_xor_si512(_mm512_maskz_loadu_epi8(taken, x + i * step), flip));
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) own[q] = _mm512_add_epi32(own[q], each.value[q]);
  }
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) sum[q] = own[q];
}

// Up to 64 neighbours, summed over what is reduced.
EDGEKIT_VNNI_TARGET void neighbours(const sum_s8_args& args, std::int64_t at, std::int64_t count, std::int8_t* out) {
  const __mmask64 taken = first(count);
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(args.flip));
  __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
  axes outer = args.reduced;
  const bool any = outer.dims > 0;
  if (any) --outer.dims;
  const std::int64_t length = any ? outer.size[outer.dims] : 1, step = any ? outer.step[outer.dims] : 0;
  for_each_offset(outer, [&](std::int64_t offset)
                             EDGEKIT_VNNI_TARGET { add_bytes(sum, args.x + at + offset, length, step, taken, flip); });
  const __m512 factor = _mm512_set1_ps(args.multiplier);
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) sum[q] = scale_wide(sum[q], factor);
  _mm512_mask_storeu_epi8(
      out, taken,
      in_order(pack(sum[0], sum[1], sum[2], sum[3], _mm512_set1_epi8(static_cast<char>(args.limit.lo)),
                    _mm512_set1_epi8(static_cast<char>(args.limit.hi)), flip)));
}

}  // namespace

const char* sum_s8_avx512vnni_refuses(const sum_s8_args& args) {
  return plain::sum_refuses(args);
}

void sum_s8_avx512vnni(const sum_s8_args& args, const part& part) {
  axes outer = args.kept;
  const std::int64_t length = outer.size[--outer.dims];
  const range share = share_of((length + 63) / 64, part);
  std::int8_t* out = args.out;
  for_each_offset(outer, [&](std::int64_t offset) {
    for (std::int64_t block = share.begin; block < share.end; ++block)
      neighbours(args, offset + block * 64, length - block * 64, out + block * 64);
    out += length;
  });
}

}  // namespace edgekit

#endif
