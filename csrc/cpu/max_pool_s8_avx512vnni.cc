// max_pool_s8 for AVX-512: channels last, 64 of them at a time. Bytes plus 128 compare as unsigned ones.
#include "../part.h"
#include "../vnni.h"
#include "../window.h"

#if defined(__x86_64__)

namespace edgekit {

namespace {

using namespace vnni;

EDGEKIT_VNNI_TARGET void pixel(const max_pool_s8_args& args, const std::int8_t* x, std::int8_t* out, const taps& rows,
                               const taps& columns) {
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(args.flip));
  for (std::int64_t channel = 0; channel < args.channels; channel += 64) {
    const __mmask64 taken = first(args.channels - channel);
    __m512i largest = _mm512_set1_epi8(-128);
    for (std::int64_t row = rows.begin; row < rows.end; ++row)
      for (std::int64_t column = columns.begin; column < columns.end; ++column) {
        const std::int8_t* from = x + row * args.dilation.height * args.x_step.row +
                                  column * args.dilation.width * args.x_step.column + channel;
        largest = _mm512_max_epi8(largest, _mm512_xor_si512(_mm512_maskz_loadu_epi8(taken, from), flip));
      }
    _mm512_mask_storeu_epi8(out + channel, taken, _mm512_xor_si512(largest, flip));
  }
}

}  // namespace

void max_pool_s8_avx512vnni(const max_pool_s8_args& args, const part& part) {
  const range share = share_of(args.images * args.out_size.height, part);
  for (std::int64_t at = share.begin; at < share.end; ++at) {
    const std::int64_t image = at / args.out_size.height, i = at % args.out_size.height;
    const std::int64_t top = i * args.stride.height - args.padding.height;
    const taps rows(top, args.kernel.height, args.dilation.height, args.in_size.height);
    for (std::int64_t j = 0; j < args.out_size.width; ++j) {
      const std::int64_t left = j * args.stride.width - args.padding.width;
      const taps columns(left, args.kernel.width, args.dilation.width, args.in_size.width);
      pixel(args, args.x + image * args.x_step.image + top * args.x_step.row + left * args.x_step.column,
            args.out + image * args.out_step.image + i * args.out_step.row + j * args.out_step.column, rows, columns);
    }
  }
}

}  // namespace edgekit

#endif
