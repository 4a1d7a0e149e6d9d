// Movers that look at values: the largest of some, tables and scales in layouts that no kernel walks.
#include <algorithm>

#include "moves.h"

namespace edgekit {

namespace {

constexpr std::int64_t kBlock = 256;  // values that wait in a buffer, so that the arithmetic is on neighbours

// The extremes of `count` neighbours in out, one offset of the reduced axes after the other. `turn` makes the wanted
// one the largest.
void extremes(const extremum_args& args, const std::int8_t* x, std::int64_t step, std::int64_t count,
              std::int8_t* out) {
  const auto to_q = static_cast<std::int8_t>(args.flip), turn = static_cast<std::int8_t>(args.least ? -1 : 0);
  std::int8_t best[kBlock];
  std::fill_n(best, kBlock, std::int8_t{-128});
  for_each_offset(args.reduced, [&](std::int64_t offset) {
    const std::int8_t* from = x + offset;
    for (std::int64_t i = 0; i < count; ++i) {
      const auto value = static_cast<std::int8_t>(from[i * step] ^ to_q ^ turn);  // ~q orders the other way round
      best[i] = best[i] > value ? best[i] : value;
    }
  });
  for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<std::int8_t>(best[i] ^ turn ^ to_q);
}

}  // namespace

void extremum_move(const extremum_args& args, const part& part) {
  for_each_block(args.kept, kBlock, part,
                 [&args](std::int64_t x, std::int64_t step, std::int64_t count, std::int64_t out) {
                   extremes(args, args.x + x, step, count, args.out + out);
                 });
}

void choose_move(const choose_args& args, const part& part) {
  const std::int64_t step_a = args.along.last_step(0), step_b = args.along.last_step(1),
                     step_out = args.along.last_step(2);
  const auto flip = static_cast<std::int8_t>(args.flip ^ (args.least ? 0xff : 0));
  for_each_row(args.along, part, [&](const row_at& at) {
    const std::int8_t *a = args.a + at.offset[0], *b = args.b + at.offset[1];
    std::int8_t* out = args.out + at.offset[2];
    for (std::int64_t i = 0; i < at.length; ++i) {
      const auto first = static_cast<std::int8_t>(a[i * step_a] ^ flip);
      const auto second = static_cast<std::int8_t>(b[i * step_b] ^ flip);
      out[i * step_out] = static_cast<std::int8_t>((first > second ? first : second) ^ flip);
    }
  });
}

void dequantize_move(const dequantize_move_args& args, const part& part) {
  const std::int64_t x_step = args.along.last_step(0), out_step = args.along.last_step(1);
  for_each_row(args.along, part, [&](const row_at& at) {
    const std::int8_t* x = args.x + at.offset[0];
    float* out = args.out + at.offset[1];
    for (std::int64_t i = 0; i < at.length; ++i)
      out[i * out_step] = static_cast<float>(static_cast<std::int8_t>(x[i * x_step] ^ args.flip)) * args.scale;
  });
}

void lut_move(const lut_move_args& args, const part& part) {
  const std::int64_t x_step = args.along.last_step(0), out_step = args.along.last_step(1),
                     table_step = args.along.last_step(2);
  const auto flip = static_cast<std::int8_t>(args.flip);
  for_each_row(args.along, part, [&](const row_at& at) {
    const std::int8_t *x = args.x + at.offset[0], *table = args.table + at.offset[2];
    std::int8_t* out = args.out + at.offset[1];
    for (std::int64_t i = 0; i < at.length; ++i)
      out[i * out_step] = table[i * table_step + static_cast<std::int8_t>(x[i * x_step] ^ flip) + 128] ^ flip;
  });
}

}  // namespace edgekit
