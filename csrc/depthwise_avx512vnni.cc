// Depthwise convolutions row by row: which results are taken together, and in which vectors.
#include "depthwise_avx512vnni.h"

#if defined(__x86_64__)

#include <algorithm>

#include "depthwise_vnni_layout.h"
#include "depthwise_vnni_results.h"
#include "depthwise_vnni_vectors.h"
#include "product_pack.h"
#include "vnni.h"

// As in product_avx512vnni.cc: it would move every sum twice.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-pre")
#endif

namespace edgekit::vnni {

namespace {

// `width` results of a row, and those of the row below where there are two; what does not make up the number that
// shares columns comes `alone`.
template <int kRows, class V, int kTogether>
EDGEKIT_VNNI_TARGET void rows_of(const Strip& strip, const Strip& alone, std::int64_t width, const std::uint8_t* x,
                                 Place at, const Finish& finish) {
  constexpr int kStep = V::kPixels * kTogether;
  for (; width >= kStep; width -= kStep, x += kStep * strip.x_step, at = at_step(at, strip, kStep)) {
    if constexpr (kRows == 2) {
      results_of_two_rows<V, kTogether>(strip, x, at, finish);
    } else {
      results<V, kTogether>(strip, x, at, finish);
    }
  }
  if (!width) return;
  if constexpr (V::kPixels > 1) {
    rows_of<kRows, typename V::Single, kTogether>(strip, alone, width, x, at, finish);
  } else if constexpr (kTogether > 1) {
    rows_of<kRows, V, 1>(alone, alone, width, x, at, finish);
  }
}

// One row of a kernel that results_of_three takes, whose weights stay in registers.
template <class V>
EDGEKIT_VNNI_TARGET void row_of_three(const Strip& strip, const Strip& alone, std::int64_t width, const std::uint8_t* x,
                                      Place at, const Finish& finish) {
  typename V::Ints weight[3][4];
#pragma GCC unroll 12
  for (int i = 0; i < 12; ++i) weight[i / 4][i % 4] = V::ints(strip.block + kConstants + i * 64);
  constexpr int kStep = 2 * V::kPixels;
  for (; width >= kStep; width -= kStep, x += kStep * strip.x_step, at = at_step(at, strip, kStep))
    results_of_three<V, 2>(strip, weight, x, at, finish);
  if (!width) return;
  if constexpr (V::kPixels > 1) {
    row_of_three<typename V::Single>(strip, alone, width, x, at, finish);
  } else {
    results_of_three<V, 1>(strip, weight, x, at, finish);
  }
}

using Row = void (*)(const Strip&, const Strip&, std::int64_t, const std::uint8_t*, Place, const Finish&);

// What computes one row and, where rows are taken in pairs, two.
struct Rows {
  Row one, two;
};

// Whether a kernel has three rows and one group, which one result leaves a column of and two fill.
bool is_three(const conv2d_s8_args& args, const Sharing& sharing) {
  const bool fits = sharing.together == 2 || (sharing.together == 1 && args.kernel.width < kTaps);
  return args.kernel.height == 3 && sharing.groups == 1 && fits;
}

template <class V>
Rows rows_for(const conv2d_s8_args& args, const Sharing& sharing) {
  const bool three = is_three(args, sharing), in_pairs = three && args.stride.height == args.dilation.height;
  if (sharing.together == 1) return {three ? row_of_three<V> : rows_of<1, V, 1>, in_pairs ? rows_of<2, V, 1> : nullptr};
  if constexpr (V::kShares) {
    constexpr Row any[kMost] = {nullptr, rows_of<1, V, 2>, rows_of<1, V, 3>, rows_of<1, V, 4>};
    return {any[sharing.together - 1], in_pairs ? rows_of<2, V, 2> : nullptr};
  }
  return {};
}

// By the channels of a block: 64, fewer, 32 at the most, 16 at the most.
struct Kinds {
  Rows whole, most, half, few;

  const Rows& of(std::int64_t channels) const {
    return channels >= kChannels ? whole : channels > 32 ? most : channels > 16 ? half : few;
  }
};

Kinds kinds_for(const conv2d_s8_args& args, const Sharing& sharing, std::int64_t pixels) {
  if (pixels > 1 && args.stride.width == 2) {
    const Rows any = rows_for<Skipping>(args, sharing);
    return {any, any, any, any};
  }
  const Rows half = rows_for<Half>(args, sharing);
  return {rows_for<Whole>(args, sharing), rows_for<Masked>(args, sharing), half,
          pixels > 1 ? half : rows_for<Pair>(args, sharing)};
}

void set_columns(Strip& strip, int together) {
  const conv2d_s8_args& args = strip.args;
  const std::int64_t last = args.kernel.width + (together - 1) * args.stride.width - 1;
  for (int c = 0; c < strip.groups * kTaps; ++c)
    strip.column[c] = std::min<std::int64_t>(c, last) * args.dilation.width * args.x_step.column;
}

Strip strip_of(const conv2d_s8_args& args, const Sharing& sharing, std::int64_t pixels) {
  Strip strip = {args,
                 nullptr,
                 sharing.groups,
                 0,
                 {},
                 args.dilation.height * args.x_step.row,
                 pixels * args.stride.width * args.x_step.column,
                 pixels * args.out_step.column,
                 pixels * args.added.step.column,
                 {},
                 {}};
  set_columns(strip, sharing.together);
  if (pixels > 1) {
    const int half = static_cast<int>(args.out_channels) / 2;
    for (int i = 0; i < 32; ++i) strip.second[i] = static_cast<std::uint16_t>(2 * i - i % half);
  }
  return strip;
}

EDGEKIT_VNNI_TARGET void set_block(Strip& strip, const std::uint8_t* block, std::int64_t channels) {
  const std::int64_t wanted = 2 * std::min<std::int64_t>(channels, kChannels) - strip.args.out_channels;
  strip.block = block;
  strip.channels = first(channels);
  strip.wanted[0] = first(std::max<std::int64_t>(wanted, 0));
  strip.wanted[1] = first(std::max<std::int64_t>(wanted - kChannels, 0));
}

// One call: the strips of results that share columns, and of those that do not.
struct Call {
  const conv2d_s8_args& args;
  const Finish finish;
  const Sharing sharing;
  const std::int64_t pixels, block_bytes;
  const Kinds kinds;
  Strip strip, alone;

  EDGEKIT_VNNI_TARGET explicit Call(const conv2d_s8_args& args)
      : args(args),
        finish(finish_of(args.limit, args.added, is_wide(args.packed))),
        sharing(sharing_of(args)),
        pixels(pixels_of(args)),
        block_bytes(vnni::block_bytes(args, sharing)),
        kinds(kinds_for(args, sharing, pixels)),
        strip(strip_of(args, sharing, pixels)),
        alone(strip) {
    set_columns(alone, 1);
  }

  // `width` results of a block, and those of the row below where there are `two`.
  void block(const std::uint8_t* packed, std::int64_t channels, std::int64_t width, const std::uint8_t* x, Place at,
             bool two) {
    set_block(strip, packed, channels);
    set_block(alone, packed, channels);
    const Rows& rows = kinds.of(channels);
    (two ? rows.two : rows.one)(strip, alone, width, x, at, finish);
  }

  void side_by_side(const std::uint8_t* packed, const std::uint8_t* x, Place at, bool two) {
    const std::int64_t bytes = args.out_channels * args.out_size.width;
    const std::int64_t whole = bytes / kChannels, left = bytes % kChannels;
    if (whole) block(packed, kChannels, whole, x, at, two);
    if (left) block(packed, left, 1, x + whole * strip.x_step, at_step(at, strip, whole), two);
  }

  void blocks(const std::uint8_t* packed, const std::uint8_t* x, Place at, bool two) {
    for (std::int64_t begin = 0; begin < args.out_channels; packed += block_bytes) {
      const std::int64_t left = args.out_channels - begin, taken = block_of(left);
      block(packed, std::min(left, taken), args.out_size.width, x + begin,
            {at.out + begin, at.added ? at.added + begin : nullptr}, two);
      begin += taken;
    }
  }
};

}  // namespace

EDGEKIT_VNNI_TARGET void depthwise(const conv2d_s8_args& args, const part& part) {
  const auto* packed = static_cast<const std::uint8_t*>(args.packed) + kHeader;
  Call call(args);
  const range share = share_of(args.images * args.out_size.height, part);
  for (std::int64_t at = share.begin; at < share.end;) {
    const std::int64_t image = at / args.out_size.height, row = at % args.out_size.height;
    const bool two = call.kinds.whole.two && at + 1 < share.end && row + 1 < args.out_size.height;
    const auto* x = reinterpret_cast<const std::uint8_t*>(args.x) + image * args.x_step.image +
                    (row * args.stride.height - args.padding.height) * args.x_step.row -
                    args.padding.width * args.x_step.column;
    auto* out = reinterpret_cast<std::uint8_t*>(args.out) + image * args.out_step.image + row * args.out_step.row;
    const auto* added = reinterpret_cast<const std::uint8_t*>(args.added.x);
    if (added) added += image * args.added.step.image + row * args.added.step.row;
    if (call.pixels > 1) {
      call.side_by_side(packed, x, {out, added}, two);
    } else {
      call.blocks(packed, x, {out, added}, two);
    }
    at += two ? 2 : 1;
  }
}

}  // namespace edgekit::vnni

#endif
