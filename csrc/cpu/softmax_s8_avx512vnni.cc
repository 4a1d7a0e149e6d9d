// softmax_s8 for AVX-512 with VBMI, where two permutations look up 64 bytes in a table of 256: the sum goes over the
// four bytes of the entries one by one, and a row has only 256 different results, of which it makes a table. Short
// rows, and those whose results leave int32, go through the plain loops of plain_rows.h.
//
// Exact: sums of fewer than 2^24 bytes fit int64, and so do all four together.
#include <cmath>

#include "../isa.h"
#include "../plain_rows.h"
#include "../vnni.h"

#if defined(__x86_64__)

#define EDGEKIT_SOFTMAX EDGEKIT_VBMI_TARGET __attribute__((always_inline)) inline

namespace edgekit {

namespace {

constexpr std::int64_t kShort = 8;   // values of a row that are not worth a table of their own
constexpr std::int64_t kFew = 1024;  // values that are not worth tables at all
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
  bool narrow;  // the top byte of every entry is 0

  EDGEKIT_SOFTMAX explicit Tables(const std::int32_t* table) {
    std::uint32_t all = 0;
    for (int d = 0; d < 256; ++d) {
      const auto entry = static_cast<std::uint32_t>(table[d]);
      for (int p = 0; p < 4; ++p) byte[p][d] = static_cast<std::uint8_t>((entry ^ 0x80000000u) >> (8 * p));
      const int lane = d / 16 % 4, vector = d / 4 % 4;
      value[d / 64 * 64 + vector * 16 + lane * 4 + d % 4] = static_cast<float>(table[d]);
      all |= entry;
    }
    narrow = all < 1u << 24;
  }
};

// Entries of a table of 256 bytes.
EDGEKIT_SOFTMAX __m512i look_up(const __m512i (&table)[4], __m512i index) {
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), _mm512_permutex2var_epi8(table[0], index, table[1]),
                                _mm512_permutex2var_epi8(table[2], index, table[3]));
}

struct Row {
  const std::int8_t* x;
  const std::uint8_t* mask;  // null where everything takes part
  std::int64_t length;
  __m512i flip;

  // Values of which 64 at a time are there and take part.
  EDGEKIT_SOFTMAX std::int64_t whole() const { return mask ? 0 : length / 64 * 64; }
};

EDGEKIT_SOFTMAX Row row_at(const softmax_s8_args& args, std::int64_t at) {
  return {args.x + at * args.length, args.mask ? args.mask + args.mask_rows[at] : nullptr, args.length,
          _mm512_set1_epi8(static_cast<char>(args.flip))};
}

// Up to 64 values of a row: which are there, and which of those take part.
template <bool kWhole>
struct Piece {
  __mmask64 there, taken;
  __m512i value;

  EDGEKIT_SOFTMAX Piece(const Row& row, std::int64_t at) {
    there = kWhole ? ~__mmask64{0} : vnni::first(row.length - at);
    taken = there;
    if (!kWhole && row.mask) {
      const __m512i bytes = _mm512_maskz_loadu_epi8(there, row.mask + at);
      taken = _mm512_test_epi8_mask(bytes, bytes);
    }
    value = _mm512_xor_si512(kWhole ? _mm512_loadu_si512(row.x + at) : _mm512_maskz_loadu_epi8(there, row.x + at),
                             row.flip);
  }

  EDGEKIT_SOFTMAX __m512i or_else(__m512i bytes, __m512i none) const {
    return kWhole ? bytes : _mm512_mask_blend_epi8(taken, none, bytes);
  }
};

// The largest of what is taken.
EDGEKIT_SOFTMAX std::int8_t largest(const Row& row) {
  const __m512i least = _mm512_set1_epi8(-128);
  __m512i most = least;
  std::int64_t at = 0;
  for (; at < row.whole(); at += 64) most = _mm512_max_epi8(most, Piece<true>(row, at).value);
  for (; at < row.length; at += 64) {
    const Piece<false> piece(row, at);
    most = _mm512_max_epi8(most, piece.or_else(piece.value, least));
  }
  const __m256i half = _mm256_max_epi8(_mm512_castsi512_si256(most), _mm512_extracti64x4_epi64(most, 1));
  const __m128i quarter = _mm_max_epi8(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  const __m128i below = _mm_xor_si128(quarter, _mm_set1_epi8(127));  // 127 - q, of which the least is looked for
  const __m128i first = _mm_minpos_epu16(_mm_min_epu8(below, _mm_srli_epi16(below, 8)));
  return static_cast<std::int8_t>(127 - _mm_cvtsi128_si32(first));
}

// Sums of each byte of the entries.
template <int kBytes>
struct Sums {
  __m512i byte[kBytes];
  std::int64_t entries;

  template <bool kWhole>
  EDGEKIT_SOFTMAX void add(const Piece<kWhole>& piece, __m512i top, const __m512i (&table)[kBytes][4]) {
    const __m512i distance = _mm512_sub_epi8(top, piece.value), none = _mm512_setzero_si512();
    entries += __builtin_popcountll(piece.taken);
#pragma GCC unroll 4
    for (int p = 0; p < kBytes; ++p) {
      const __m512i bytes = piece.or_else(look_up(table[p], distance), none);
      byte[p] = _mm512_add_epi64(byte[p], _mm512_sad_epu8(bytes, none));
    }
  }

  // Where the top bytes are among them, these are 128 more than they count.
  EDGEKIT_SOFTMAX std::int64_t total() const {
    __m512i all = byte[0];
#pragma GCC unroll 4
    for (int p = 1; p < kBytes; ++p) all = _mm512_add_epi64(all, _mm512_slli_epi64(byte[p], 8 * p));
    return _mm512_reduce_add_epi64(all) - (kBytes == 4 ? entries << 31 : 0);
  }
};

template <int kBytes>
EDGEKIT_SOFTMAX void totals(const softmax_s8_args& args, range rows, const Tables& tables, const std::int8_t* top,
                            double* to) {
  __m512i table[kBytes][4];
#pragma GCC unroll 4
  for (int p = 0; p < kBytes; ++p)
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) table[p][i] = _mm512_load_si512(tables.byte[p] + i * 64);
  for (std::int64_t r = rows.begin; r < rows.end; ++r) {
    const Row row = row_at(args, r);
    const __m512i most = _mm512_set1_epi8(*top++);
    Sums<kBytes> sums = {};
    std::int64_t at = 0;
    for (; at < row.whole(); at += 64) sums.add(Piece<true>(row, at), most, table);
    for (; at < row.length; at += 64) sums.add(Piece<false>(row, at), most, table);
    *to++ = static_cast<double>(sums.total());
  }
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

template <bool kWhole>
EDGEKIT_SOFTMAX void finish(const Row& row, const Piece<kWhole>& piece, __m512i top, const __m512i (&result)[4],
                            std::int8_t* out) {
  const __m512i y = piece.or_else(look_up(result, _mm512_sub_epi8(top, piece.value)), _mm512_setzero_si512());
  _mm512_mask_storeu_epi8(out, piece.there, _mm512_xor_si512(y, row.flip));
}

EDGEKIT_SOFTMAX void finish(const Row& row, std::int8_t top, const __m512i (&result)[4], std::int8_t* out) {
  const __m512i most = _mm512_set1_epi8(top);
  std::int64_t at = 0;
  for (; at < row.whole(); at += 64) finish(row, Piece<true>(row, at), most, result, out + at);
  for (; at < row.length; at += 64) finish(row, Piece<false>(row, at), most, result, out + at);
}

// A step for all rows before the next step: the steps of one row wait for each other.
EDGEKIT_VBMI_TARGET void some_rows(const softmax_s8_args& args, range rows, const Tables& tables) {
  std::int8_t top[kTogether];
  double sum[kTogether];
  const int count = static_cast<int>(rows.end - rows.begin);
  for (int i = 0; i < count; ++i) top[i] = largest(row_at(args, rows.begin + i));
  tables.narrow ? totals<3>(args, rows, tables, top, sum) : totals<4>(args, rows, tables, top, sum);
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

EDGEKIT_VBMI_TARGET void softmax_rows(const softmax_s8_args& all, range rows) {
  const softmax_s8_args args = all;  // a copy, since a store of bytes might change what it points to
  const Tables tables(args.table);
  for (std::int64_t at = rows.begin; at < rows.end; at += kTogether)
    some_rows(args, {at, std::min(at + kTogether, rows.end)}, tables);
}

}  // namespace

void softmax_s8_avx512vnni(const softmax_s8_args& args, const part& part) {
  const range rows = share_of(args.rows, part);
  const bool dense = !args.mask || args.mask_stride == 1;
  if (dense && args.length >= kShort && (rows.end - rows.begin) * args.length >= kFew && has_vbmi()) {
    softmax_rows(args, rows);
  } else {
    plain_rows(args, rows);
  }
}

}  // namespace edgekit

#endif
