// softmax_s8 for AVX-512 with VBMI, where two permutations look up 64 bytes in a table of 256: the sum goes over the
// four bytes of the entries one by one, and a row has only 256 different results, of which it makes a table. Short
// rows, and those whose results leave int32, go through the plain loops of plain_rows.h.
//
// Exact: sums of fewer than 2^24 bytes fit int64, and so do all four together.
#include <cmath>

#include "../plain_rows.h"
#include "../vnni.h"

#if defined(__x86_64__)

#define EDGEKIT_SOFTMAX_TARGET \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,avx2,fma")))
#define EDGEKIT_SOFTMAX EDGEKIT_SOFTMAX_TARGET __attribute__((always_inline)) inline

namespace edgekit {

namespace {

constexpr std::int64_t kShort = 48;  // values of a row that are not worth a table of their own
constexpr std::int64_t kFew = 4096;  // values that are not worth tables at all
constexpr int kTogether = 16;        // rows

EDGEKIT_VNNI_TARGET void plain_rows(const softmax_s8_args& args, range rows) {
  softmax_s8_args own = args;
  own.x += rows.begin * args.length;
  own.out += rows.begin * args.length;
  own.rows = rows.end - rows.begin;
  if (args.mask) own.mask_rows += rows.begin;
  plain::softmax(own, part{0, 1, nullptr});
}

// The table of weights: the bytes of all entries, the top one + 128 and so never negative; and as floats, in the order
// in which vnni::pack() puts bytes side by side.
struct Tables {
  alignas(64) std::uint8_t byte[4][256];
  alignas(64) float value[256];

  EDGEKIT_SOFTMAX explicit Tables(const std::int32_t* table) {
    for (int d = 0; d < 256; ++d) {
      const auto bits = static_cast<std::uint32_t>(table[d]) ^ 0x80000000u;
      for (int p = 0; p < 4; ++p) byte[p][d] = static_cast<std::uint8_t>(bits >> (8 * p));
      const int lane = d / 16 % 4, vector = d / 4 % 4;
      value[d / 64 * 64 + vector * 16 + lane * 4 + d % 4] = static_cast<float>(table[d]);
    }
  }
};

// Entries of a table of 256 bytes, 0 for what is not taken.
EDGEKIT_SOFTMAX __m512i look_up(const __m512i (&table)[4], __m512i index, __mmask64 taken) {
  const __mmask64 high = _mm512_movepi8_mask(index);
  return _mm512_or_si512(_mm512_maskz_permutex2var_epi8(taken & ~high, table[0], index, table[1]),
                         _mm512_maskz_permutex2var_epi8(taken & high, table[2], index, table[3]));
}

struct Row {
  const std::int8_t* x;
  const std::uint8_t* mask;  // null where everything takes part
  std::int64_t length;
  __m512i flip;

  EDGEKIT_SOFTMAX __mmask64 taken(std::int64_t at) const {
    const __mmask64 there = vnni::first(length - at);
    if (!mask) return there;
    const __m512i bytes = _mm512_maskz_loadu_epi8(there, mask + at);
    return _mm512_test_epi8_mask(bytes, bytes);
  }

  EDGEKIT_SOFTMAX __m512i values(std::int64_t at) const {
    return _mm512_xor_si512(_mm512_maskz_loadu_epi8(vnni::first(length - at), x + at), flip);
  }
};

// The largest of what is taken.
EDGEKIT_SOFTMAX std::int8_t largest(const Row& row) {
  __m512i most = _mm512_set1_epi8(-128);
  for (std::int64_t at = 0; at < row.length; at += 64)
    most = _mm512_mask_max_epi8(most, row.taken(at), most, row.values(at));
  const __m256i half = _mm256_max_epi8(_mm512_castsi512_si256(most), _mm512_extracti64x4_epi64(most, 1));
  const __m128i quarter = _mm_max_epi8(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  const __m128i below = _mm_xor_si128(quarter, _mm_set1_epi8(127));  // 127 - q, of which the least is looked for
  const __m128i least = _mm_minpos_epu16(_mm_min_epu8(below, _mm_srli_epi16(below, 8)));
  return static_cast<std::int8_t>(127 - _mm_cvtsi128_si32(least));
}

// The sum of the entries, byte by byte.
EDGEKIT_SOFTMAX std::int64_t total(const Row& row, std::int8_t top, const __m512i (&table)[4][4]) {
  __m512i sum[4];
#pragma GCC unroll 4
  for (int p = 0; p < 4; ++p) sum[p] = _mm512_setzero_si512();
  std::int64_t entries = 0;
  for (std::int64_t at = 0; at < row.length; at += 64) {
    const __mmask64 taken = row.taken(at);
    const __m512i distance = _mm512_sub_epi8(_mm512_set1_epi8(top), row.values(at));
    entries += __builtin_popcountll(taken);
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p)
      sum[p] = _mm512_add_epi64(sum[p], _mm512_sad_epu8(look_up(table[p], distance, taken), _mm512_setzero_si512()));
  }
  const __m512i low = _mm512_add_epi64(sum[0], _mm512_slli_epi64(sum[1], 8));
  const __m512i high = _mm512_add_epi64(_mm512_slli_epi64(sum[2], 16), _mm512_slli_epi64(sum[3], 24));
  return _mm512_reduce_add_epi64(_mm512_add_epi64(low, high)) - (entries << 31);
}

// What each distance from the largest becomes.
EDGEKIT_SOFTMAX void results(const Tables& tables, float factor, __m512i (&to)[4]) {
  const __m512 r = _mm512_set1_ps(factor);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    __m512i part[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j)
      part[j] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_load_ps(tables.value + i * 64 + j * 16), r));
    to[i] = _mm512_packs_epi16(_mm512_packs_epi32(part[0], part[1]), _mm512_packs_epi32(part[2], part[3]));
  }
}

EDGEKIT_SOFTMAX void finish(const Row& row, std::int8_t top, const __m512i (&result)[4], std::int8_t* out) {
  for (std::int64_t at = 0; at < row.length; at += 64) {
    const __m512i distance = _mm512_sub_epi8(_mm512_set1_epi8(top), row.values(at));
    const __m512i y = look_up(result, distance, row.taken(at));
    _mm512_mask_storeu_epi8(out + at, vnni::first(row.length - at), _mm512_xor_si512(y, row.flip));
  }
}

EDGEKIT_SOFTMAX Row row_at(const softmax_s8_args& args, std::int64_t at) {
  return {args.x + at * args.length, args.mask ? args.mask + args.mask_rows[at] : nullptr, args.length,
          _mm512_set1_epi8(static_cast<char>(args.flip))};
}

// A step for all rows before the next step: the steps of one row wait for each other.
EDGEKIT_SOFTMAX_TARGET void some_rows(const softmax_s8_args& args, range rows, const Tables& tables) {
  std::int8_t top[kTogether];
  double sum[kTogether];
  const int count = static_cast<int>(rows.end - rows.begin);
  for (int i = 0; i < count; ++i) top[i] = largest(row_at(args, rows.begin + i));
  __m512i table[4][4];
#pragma GCC unroll 4
  for (int p = 0; p < 4; ++p)
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) table[p][i] = _mm512_load_si512(tables.byte[p] + i * 64);
  for (int i = 0; i < count; ++i) sum[i] = static_cast<double>(total(row_at(args, rows.begin + i), top[i], table));
  for (int i = 0; i < count; ++i) {
    const std::int64_t at = rows.begin + i;
    const float factor = static_cast<float>(1.0 / (sum[i] * args.output_scale));
    if (!(std::fabs(factor) < 1.0f)) {  // a result might leave int32, as no weight does
      plain_rows(args, {at, at + 1});
      continue;
    }
    __m512i result[4];
    results(tables, factor, result);
    finish(row_at(args, at), top[i], result, args.out + at * args.length);
  }
}

EDGEKIT_SOFTMAX_TARGET void softmax_rows(const softmax_s8_args& all, range rows) {
  const softmax_s8_args args = all;  // a copy, since a store of bytes might change what it points to
  const Tables tables(args.table);
  for (std::int64_t at = rows.begin; at < rows.end; at += kTogether)
    some_rows(args, {at, std::min(at + kTogether, rows.end)}, tables);
}

}  // namespace

void softmax_s8_avx512vnni(const softmax_s8_args& args, const part& part) {
  const range rows = share_of(args.rows, part);
  const bool dense = !args.mask || args.mask_stride == 1;
  if (dense && args.length >= kShort && (rows.end - rows.begin) * args.length >= kFew &&
      __builtin_cpu_supports("avx512vbmi")) {
    softmax_rows(args, rows);
  } else {
    plain_rows(args, rows);
  }
}

}  // namespace edgekit

#endif
