// One window times many features, as in a linear layer of a batch of one. There is nothing to look up and no tile to
// choose: each weight is read once, which is what the time goes to, so all else is kept short.
#include "product_row_avx512vnni.h"

#if defined(__x86_64__)

// As in product_avx512vnni.cc.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-pre")
#endif

namespace edgekit::vnni {

namespace {

constexpr int kSplit = 4;  // quads at a time, each into sums of its own: a sum waits four cycles for the one before

// One block, which holds bias, multipliers and weights, in this order.
template <int kVectors>
EDGEKIT_VNNI void multiply_block(const Product& product, std::int64_t quads, const Block& block, const Finish& finish) {
  __m512i sum[kSplit][kVectors];
#pragma GCC unroll 4
  for (int s = 0; s < kSplit; ++s)
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v)
      sum[s][v] = s == 0 ? _mm512_loadu_si512(block.packed + v * 64) : _mm512_setzero_si512();
  const std::uint8_t* weight = block.packed + kVectors * 128;
  const auto add = [&](int s, std::int64_t quad) EDGEKIT_VNNI_LAMBDA {
    const __m512i bytes = broadcast(product.x + quad * 4);
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v)
      sum[s][v] = _mm512_dpbusd_epi32(sum[s][v], bytes, _mm512_loadu_si512(weight + (quad * kVectors + v) * 64));
  };
  std::int64_t quad = 0;
  for (; quad + kSplit <= quads; quad += kSplit)
#pragma GCC unroll 4
    for (int s = 0; s < kSplit; ++s) add(s, quad + s);
  for (; quad < quads; ++quad) add(0, quad);
  __m512i y[4] = {};
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) {
    const __m512 factor = _mm512_loadu_ps(block.packed + (kVectors + v) * 64);
    const __m512i total =
        _mm512_add_epi32(_mm512_add_epi32(sum[0][v], sum[1][v]), _mm512_add_epi32(sum[2][v], sum[3][v]));
    y[v] = finish.wide ? scale_wide(total, factor) : scale(total, factor);
    if (finish.add) y[v] = plus(y[v], residual_at(product.added, block, v), finish);
  }
  store<1, kVectors>(in_order(pack(y[0], y[1], y[2], y[3], finish)), &product.out, block);
}

}  // namespace

EDGEKIT_VNNI_TARGET void multiply_row(const Product& product, const void* packed, const bounds& limit,
                                      const residual& added, range blocks) {
  const Product own = product;  // a copy, since a store of bytes might change what the reference means
  const Finish finish = finish_of(limit, added, is_wide(packed));
  const std::int64_t quads = own.quads();
  for (std::int64_t b = blocks.begin; b < blocks.end; ++b) {
    const Block block = block_of(own, packed, b);
    if (block.count > kLanes) {
      multiply_block<2>(own, quads, block, finish);
    } else {
      multiply_block<1>(own, quads, block, finish);
    }
  }
}

}  // namespace edgekit::vnni

#endif
