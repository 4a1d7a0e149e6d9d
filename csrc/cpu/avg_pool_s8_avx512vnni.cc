// avg_pool_s8 for AVX-512: channels last, 64 of them at a time. Sums of at most 131,071 bytes are exact in int32.
#include "../part.h"
#include "../vnni.h"
#include "../window.h"

#if defined(__x86_64__)

namespace edgekit {

namespace {

using namespace vnni;

EDGEKIT_VNNI_TARGET void pixel(const avg_pool_s8_args& args, const std::int8_t* x, std::int8_t* out, const taps& rows,
                               const taps& columns, float multiplier) {
  const __m512 factor = _mm512_set1_ps(multiplier);
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(args.flip)),
                least = _mm512_set1_epi8(static_cast<char>(args.limit.lo)),
                most = _mm512_set1_epi8(static_cast<char>(args.limit.hi));
  for (std::int64_t channel = 0; channel < args.channels; channel += 64) {
    const __mmask64 taken = first(args.channels - channel);
    __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    for (std::int64_t row = rows.begin; row < rows.end; ++row)
      for (std::int64_t column = columns.begin; column < columns.end; ++column) {
        const std::int8_t* from = x + row * args.x_step.row + column * args.x_step.column + channel;
        const Quarters own = widened_all(_mm512_xor_si512(_mm512_maskz_loadu_epi8(taken, from), flip));
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) sum[q] = _mm512_add_epi32(sum[q], own.value[q]);
      }
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) sum[q] = scale_wide(sum[q], factor);
    _mm512_mask_storeu_epi8(out + channel, taken, in_order(pack(sum[0], sum[1], sum[2], sum[3], least, most, flip)));
  }
}

}  // namespace

void avg_pool_s8_avx512vnni(const avg_pool_s8_args& args, const part& part) {
  const range share = share_of(args.images * args.out_size.height, part);
  for (std::int64_t at = share.begin; at < share.end; ++at) {
    const std::int64_t image = at / args.out_size.height, i = at % args.out_size.height;
    const std::int64_t top = i * args.stride.height - args.padding.height;
    const taps rows(top, args.kernel.height, 1, args.in_size.height);
    const std::int64_t high =
        counted(top, args.kernel.height, args.padding.height, args.in_size.height, args.count_include_pad);
    for (std::int64_t j = 0; j < args.out_size.width; ++j) {
      const std::int64_t left = j * args.stride.width - args.padding.width;
      const taps columns(left, args.kernel.width, 1, args.in_size.width);
      const std::int64_t wide =
          counted(left, args.kernel.width, args.padding.width, args.in_size.width, args.count_include_pad);
      pixel(args, args.x + image * args.x_step.image + top * args.x_step.row + left * args.x_step.column,
            args.out + image * args.out_step.image + i * args.out_step.row + j * args.out_step.column, rows, columns,
            args.multiplier[high * wide]);
    }
  }
}

}  // namespace edgekit

#endif
