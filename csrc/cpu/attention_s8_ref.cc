// attention_s8, normative: matmul_s8, softmax_s8 and matmul_s8 one after the other, a query at a time. Scores and
// weights are int8; the sums fit int32, since depth and keys are at most 131,071.
#include <algorithm>

#include "../ops_sequences.h"
#include "../part.h"
#include "../requant.h"

namespace edgekit {

namespace {

// One query: its values, the matrices it meets, where its mask begins, and where its results go.
struct Query {
  const std::int8_t *q, *k, *v;
  const std::uint8_t* mask;
  std::int8_t* out;
};

void score(const attention_s8_args& args, Query query, std::int8_t* scores) {
  for (std::int64_t key = 0; key < args.keys; ++key) {
    std::int32_t sum = 0;
    for (std::int64_t i = 0; i < args.depth; ++i) sum += query.q[i] * query.k[key * args.depth + i];
    scores[key] = requantize(sum, args.score_multiplier, -128, 127);
  }
}

// Scores become weights in place.
void weigh(const attention_s8_args& args, Query query, std::int8_t* scores) {
  const auto taken = [&](std::int64_t key) { return !query.mask || query.mask[key * args.mask_key]; };
  int top = -128;
  for (std::int64_t key = 0; key < args.keys; ++key) {
    if (taken(key)) top = std::max<int>(top, scores[key]);
  }
  std::int64_t total = 0;
  for (std::int64_t key = 0; key < args.keys; ++key) {
    if (taken(key)) total += args.table[top - scores[key]];
  }
  const float r = static_cast<float>(1.0 / (static_cast<double>(total) * args.softmax_scale));
  for (std::int64_t key = 0; key < args.keys; ++key) {
    scores[key] = taken(key) ? saturate(static_cast<float>(args.table[top - scores[key]]) * r, -128, 127) : 0;
  }
}

void average(const attention_s8_args& args, Query query, const std::int8_t* weights) {
  for (std::int64_t column = 0; column < args.values; ++column) {
    std::int32_t sum = 0;
    for (std::int64_t key = 0; key < args.keys; ++key) sum += weights[key] * query.v[key * args.values + column];
    query.out[column] = requantize(sum, args.multiplier, -128, 127);
  }
}

}  // namespace

std::size_t attention_s8_ref_scratch(const attention_s8_args& args) {
  return static_cast<std::size_t>(args.keys);
}

void attention_s8_ref(const attention_s8_args& args, const part& part) {
  const attention_s8_args own = args;  // a copy, since a store of bytes might change what args points to
  auto* scores = static_cast<std::int8_t*>(part.scratch);
  const range rows = share_of(own.batch * own.queries, part);
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    const attention_s8_args::place& place = own.places[row / own.queries];
    const std::int64_t index = row % own.queries;
    const std::uint8_t* mask = own.mask ? own.mask + place.mask + index * own.mask_query : nullptr;
    const Query query = {own.q + place.q + index * own.depth, own.k + place.k, own.v + place.v, mask,
                         own.out + row * own.values};
    score(own, query, scores);
    weigh(own, query, scores);
    average(own, query, scores);
  }
}

}  // namespace edgekit
