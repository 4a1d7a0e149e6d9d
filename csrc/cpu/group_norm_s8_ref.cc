// group_norm_s8, normative: layer norm over the channels of a group and all positions, gain and offset by channel;
// see norm.h.
#include "../norm.h"
#include "../ops_sequences.h"

namespace edgekit {

namespace {

void group(const group_norm_s8_args& args, std::int64_t at) {
  const std::int64_t n = args.channels * args.inner;
  const std::int8_t* x = args.x + at * n;
  const set_sums set = sums_of(x, n);
  const float factor = deviation_factor(set, n, args.scale, args.eps);
  const std::int64_t first = at % args.groups * args.channels;  // channel of the tensor
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t channel = first + i / args.inner;
    args.out[at * n + i] = affine(normalised(x[i], set, n, factor), args.gain[channel], args.offset[channel]);
  }
}

}  // namespace

void group_norm_s8_ref(const group_norm_s8_args& args) {
  const group_norm_s8_args own = args;  // a copy, since a store of bytes might change what args points to
  for (std::int64_t at = 0; at < own.images * own.groups; ++at) group(own, at);
}

}  // namespace edgekit
