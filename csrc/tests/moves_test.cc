// Movers of bytes against a walk index by index: copies between layouts of every order, sizes and elements, in parts,
// between guard pages.
#include "../engine/moves.h"

#include <cstring>
#include <vector>

#include "check.h"

namespace edgekit::test {
namespace {

// Steps of an array of these sizes whose dimensions lie in memory in this order, the last one innermost, with `gap`
// elements behind each row. The number of elements that it spans.
std::int64_t lay(const grid& along, const std::vector<int>& order, std::int64_t gap, std::int64_t bytes,
                 std::int64_t* step) {
  std::int64_t next = bytes;
  for (std::size_t i = order.size(); i-- > 0;) {
    step[order[i]] = next;
    next = next * along.size[order[i]] + (i + 1 == order.size() ? gap * bytes : 0);
  }
  std::int64_t last = 0;
  for (int d = 0; d < along.dims; ++d) last += (along.size[d] - 1) * step[d];
  return last + bytes;
}

std::vector<int> some_order(int dims) {
  std::vector<int> order(dims);
  for (int d = 0; d < dims; ++d) order[d] = d;
  for (int d = dims - 1; d > 0; --d) std::swap(order[d], order[draw() % (d + 1)]);
  return order;
}

void one_by_one(const copy_args& args, const std::uint8_t* x, std::uint8_t* out) {
  std::int64_t index[kGridDims] = {}, count = 1;
  for (int d = 0; d < args.along.dims; ++d) count *= args.along.size[d];
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t from = 0, to = 0;
    for (int d = 0; d < args.along.dims; ++d) {
      from += index[d] * args.along.step[0][d];
      to += index[d] * args.along.step[1][d];
    }
    for (std::int64_t b = 0; b < args.bytes; ++b) out[to + b] = x[from + b] ^ args.flip;
    for (int d = args.along.dims - 1; d >= 0 && ++index[d] == args.along.size[d]; --d) index[d] = 0;
  }
}

void copies(int dims, std::int64_t most) {
  copy_args args = {};
  const std::int64_t units[] = {1, 1, 1, 2, 4, 8};
  args.bytes = units[draw() % 6];
  args.flip = args.bytes == 1 && draw() & 1 ? 0x80 : 0;
  args.along.dims = dims;
  for (int d = 0; d < dims; ++d) args.along.size[d] = draw(1, most);
  const std::int64_t in = lay(args.along, some_order(dims), draw(0, 3), args.bytes, args.along.step[0]);
  const std::int64_t out = lay(args.along, some_order(dims), draw(0, 3), args.bytes, args.along.step[1]);
  const bool end = draw() & 1;
  Guarded x(in, 0, end), y(out, 0, !end);
  fill(x.bytes(), in, false);
  std::vector<std::uint8_t> want(out, 0xa5);
  args.x = reinterpret_cast<const std::uint8_t*>(x.bytes());
  args.out = reinterpret_cast<std::uint8_t*>(y.bytes());
  one_by_one(args, args.x, want.data());
  args.along = merged(args.along, 1);
  const unsigned parts = static_cast<unsigned>(draw(1, 8));
  for (unsigned i = parts; i-- > 0;) copy_move(args, part{i, parts, nullptr});
  ++checked;
  if (std::memcmp(want.data(), y.bytes(), out) && ++wrong <= 20)
    std::printf("WRONG copy: %d dimensions of up to %d\n", dims, static_cast<int>(most));
}

}  // namespace
}  // namespace edgekit::test

int main() {
  using namespace edgekit::test;
  for (int i = 0; i < 2000; ++i) {
    copies(1, 700);
    copies(2, 90);
    copies(3, 25);
    copies(4, 9);
    copies(5, 4);
  }
  std::printf("%ld checks, %ld wrong\n", checked, wrong);
  return wrong ? 1 : 0;
}
