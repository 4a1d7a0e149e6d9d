#include "moves.h"

#include <cstring>

namespace edgekit {

namespace {

// A call would take longer than a short row: words of 16 bytes, the last of which overlaps.
void copy_bytes(const std::uint8_t* __restrict x, std::uint8_t* __restrict out, std::int64_t count, std::uint8_t flip) {
  constexpr std::int64_t kWord = 16, kShort = 256;
  if (flip) {
    for (std::int64_t i = 0; i < count; ++i) out[i] = x[i] ^ flip;
  } else if (count < kWord || count > kShort) {
    std::memcpy(out, x, static_cast<std::size_t>(count));
  } else {
    for (std::int64_t i = 0; i + kWord <= count; i += kWord) std::memcpy(out + i, x + i, kWord);
    std::memcpy(out + count - kWord, x + count - kWord, kWord);
  }
}

// memcpy of a constant size is one load or store, and asks for no alignment.
template <int kBytes>
void copy_row(const std::uint8_t* x, std::int64_t x_step, std::uint8_t* out, std::int64_t out_step, std::int64_t length,
              std::uint8_t flip) {
  for (std::int64_t i = 0; i < length; ++i) {
    if (kBytes == 1) {
      out[i * out_step] = x[i * x_step] ^ flip;
    } else {
      std::memcpy(out + i * out_step, x + i * x_step, kBytes);
    }
  }
}

template <int kBytes>
void copy_rows(const copy_args& args, const part& part) {
  const int last = args.along.dims - 1;
  const std::int64_t x_step = last < 0 ? kBytes : args.along.step[0][last];
  const std::int64_t out_step = last < 0 ? kBytes : args.along.step[1][last];
  const bool dense = x_step == kBytes && out_step == kBytes;
  for_each_row(args.along, part, [&](const row_at& at) {
    if (dense) {
      copy_bytes(args.x + at.offset[0], args.out + at.offset[1], at.length * kBytes, args.flip);
    } else {
      copy_row<kBytes>(args.x + at.offset[0], x_step, args.out + at.offset[1], out_step, at.length, args.flip);
    }
  });
}

constexpr int kSquare = 8;  // rows and columns of bytes that are turned at a time

// Exchanges the bits of `other` where the mask is set with those of `one` that lie `bits` above.
void exchange(std::uint64_t& one, std::uint64_t& other, int bits, std::uint64_t mask) {
  const std::uint64_t differ = ((one >> bits) ^ other) & mask;
  other ^= differ;
  one ^= differ << bits;
}

// Eight words of eight bytes as their transpose: halves of words, then quarters, then bytes change places.
void transpose(std::uint64_t (&word)[kSquare]) {
  for (int i = 0; i < 4; ++i) exchange(word[i], word[i + 4], 32, 0x00000000ffffffffu);
  for (const int i : {0, 1, 4, 5}) exchange(word[i], word[i + 2], 16, 0x0000ffff0000ffffu);
  for (const int i : {0, 2, 4, 6}) exchange(word[i], word[i + 1], 8, 0x00ff00ff00ff00ffu);
}

// Eight rows of out, of `length` bytes side by side, each of a column of x.
void turn_rows(const std::uint8_t* x, std::int64_t x_step, std::uint8_t* out, std::int64_t out_step,
               std::int64_t length, std::uint8_t flip) {
  std::int64_t at = 0;
  for (; at + kSquare <= length; at += kSquare) {
    std::uint64_t word[kSquare];
    for (int i = 0; i < kSquare; ++i) std::memcpy(word + i, x + (at + i) * x_step, kSquare);
    transpose(word);
    for (int i = 0; i < kSquare; ++i) {
      word[i] ^= flip * 0x0101010101010101u;
      std::memcpy(out + i * out_step + at, word + i, kSquare);
    }
  }
  for (; at < length; ++at)
    for (int i = 0; i < kSquare; ++i) out[i * out_step + at] = x[at * x_step + i] ^ flip;
}

// The dimension along which bytes of x are neighbours, if those of out are along the last; else -1.
int turned(const copy_args& args) {
  const grid& along = args.along;
  if (args.bytes != 1 || along.dims < 2 || along.last_step(1) != 1 || along.last_step(0) == 1) return -1;
  for (int d = 0; d + 1 < along.dims; ++d)
    if (along.step[0][d] == 1 && along.size[d] >= kSquare) return d;
  return -1;
}

// Eight rows along dimension d at a time, and what is left of it one by one.
void copy_turned(const copy_args& args, int d, const part& part) {
  copy_args squares = args, rest = args;
  const std::int64_t whole = args.along.size[d] / kSquare;
  squares.along.size[d] = whole;
  for (auto& step : squares.along.step) step[d] *= kSquare;
  for_each_row(squares.along, part, [&](const row_at& at) {
    turn_rows(args.x + at.offset[0], args.along.last_step(0), args.out + at.offset[1], args.along.step[1][d], at.length,
              args.flip);
  });
  rest.along.size[d] -= whole * kSquare;
  rest.x += whole * kSquare;
  rest.out += whole * kSquare * args.along.step[1][d];
  if (rest.along.size[d]) copy_rows<1>(rest, part);
}

void fill_columns(const halo_args& args, std::uint8_t* begin, std::int64_t columns) {
  if (columns <= 0) return;
  if (args.step.channel == 1 && (args.step.column == args.channels || columns == 1)) {
    std::memset(begin, args.flip, static_cast<std::size_t>(columns * args.channels));
    return;
  }
  for (std::int64_t column = 0; column < columns; ++column)
    for (std::int64_t channel = 0; channel < args.channels; ++channel)
      begin[column * args.step.column + channel * args.step.channel] = args.flip;
}

template <int kBytes>
void gather_rows(const gather_args& args, const part& part) {
  const int last = args.along.dims - 1;
  const std::int64_t index_step = last < 0 ? 1 : args.along.step[0][last];
  const std::int64_t out_step = last < 0 ? kBytes : args.along.step[1][last];
  const std::uint8_t value = args.value ^ args.value_flip;
  for_each_row(args.along, part, [&](const row_at& at) {
    for (std::int64_t i = 0; i < at.length; ++i) {
      const std::int64_t from = args.index[at.offset[0] + i * index_step];
      std::uint8_t* to = args.out + at.offset[1] + i * out_step;
      if (from < 0) {
        std::memset(to, value, kBytes);
      } else if (kBytes == 1) {
        *to = args.x[from] ^ args.flip;
      } else {
        std::memcpy(to, args.x + from * kBytes, kBytes);
      }
    }
  });
}

}  // namespace

void copy_move(const copy_args& args, const part& part) {
  const int neighbours = turned(args);
  if (neighbours >= 0) return copy_turned(args, neighbours, part);
  switch (args.bytes) {
    case 1:
      return copy_rows<1>(args, part);
    case 2:
      return copy_rows<2>(args, part);
    case 4:
      return copy_rows<4>(args, part);
    default:
      return copy_rows<8>(args, part);
  }
}

void fill_move(const fill_args& args, const part& part) {
  const int last = args.along.dims - 1;
  const std::int64_t step = last < 0 ? args.bytes : args.along.step[0][last];
  const std::uint8_t value = args.value ^ args.flip;
  for_each_row(args.along, part, [&](const row_at& at) {
    std::uint8_t* out = args.out + at.offset[0];
    if (step == args.bytes) {
      std::memset(out, value, static_cast<std::size_t>(at.length * args.bytes));
      return;
    }
    for (std::int64_t i = 0; i < at.length; ++i)
      std::memset(out + i * step, value, static_cast<std::size_t>(args.bytes));
  });
}

void halo_move(const halo_args& args, const part& part) {
  const range rows = share_of(args.images * args.size.height, part);
  const bool dense = args.step.row == args.size.width * args.step.column;
  std::int64_t image = rows.begin / args.size.height, row = rows.begin % args.size.height;
  const auto inside = [&](std::int64_t at) { return at >= args.top && at < args.size.height - args.bottom; };
  bool done = false;  // the left margin of this row, with the right one of the row before
  for (std::int64_t left = rows.end - rows.begin; left > 0; --left) {
    std::uint8_t* begin = args.x + image * args.step.image + row * args.step.row;
    if (inside(row)) {
      if (!done) fill_columns(args, begin, args.left);
      done = dense && left > 1 && inside(row + 1);
      fill_columns(args, begin + (args.size.width - args.right) * args.step.column,
                   args.right + (done ? args.left : 0));
    } else {
      fill_columns(args, begin, args.size.width);
    }
    if (++row == args.size.height) {
      row = 0;
      ++image;
    }
  }
}

void gather_move(const gather_args& args, const part& part) {
  switch (args.bytes) {
    case 1:
      return gather_rows<1>(args, part);
    case 2:
      return gather_rows<2>(args, part);
    case 4:
      return gather_rows<4>(args, part);
    default:
      return gather_rows<8>(args, part);
  }
}

void take_move(const take_args& args, const part& part) {
  const range share = share_of(args.count, part);
  const auto* wide = static_cast<const std::int64_t*>(args.index);
  const auto* narrow = static_cast<const std::int32_t*>(args.index);
  for (std::int64_t i = share.begin; i < share.end; ++i) {
    const std::int64_t row = args.wide ? wide[i] : narrow[i];
    if (row < 0 || row >= args.rows) {
      args.failed->store(1, std::memory_order_relaxed);
      continue;
    }
    copy_bytes(args.x + row * args.row_bytes, args.out + i * args.row_bytes, args.row_bytes, args.flip);
  }
}

}  // namespace edgekit
