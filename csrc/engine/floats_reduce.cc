// Sums, means and extremes over whole dimensions. Sums of floats are kept in float64 and rounded once; every sum goes
// through the dimensions in order, whatever the threads.
#include <algorithm>
#include <limits>

#include "floats.h"

namespace edgekit {

namespace {

constexpr std::int64_t kBlock = 128;  // results that grow side by side

// T: of x and out; Sum: of what is added up.
template <class T, class Sum>
void sums(const reduce_args& args, const part& part) {
  const auto* x = reinterpret_cast<const T*>(args.x);
  auto* out = reinterpret_cast<T*>(args.out);
  const auto divisor = static_cast<Sum>(args.function == plan::reduction::mean ? count_of(args.reduced) : 1);
  for_each_block(args.kept, kBlock, part,
                 [&](std::int64_t begin, std::int64_t step, std::int64_t count, std::int64_t to) {
                   Sum total[kBlock] = {};
                   for_each_offset(args.reduced, [&](std::int64_t offset) {
                     const T* from = x + begin + offset;
                     for (std::int64_t i = 0; i < count; ++i) total[i] += static_cast<Sum>(from[i * step]);
                   });
                   for (std::int64_t i = 0; i < count; ++i) out[to + i] = static_cast<T>(total[i] / divisor);
                 });
}

// Whether a comes before b as the wanted one; NaN comes before all, as in torch.
template <class T>
bool beats(T a, T b, bool least) {
  if (a != a) return b == b;
  return least ? a < b : a > b;
}

template <class T>
void extremes(const reduce_args& args, const part& part) {
  using plan::reduction;
  const auto* x = reinterpret_cast<const T*>(args.x);
  const bool least = args.function == reduction::min || args.function == reduction::argmin;
  const bool place = args.function == reduction::argmax || args.function == reduction::argmin;
  for_each_block(args.kept, kBlock, part,
                 [&](std::int64_t begin, std::int64_t step, std::int64_t count, std::int64_t to) {
                   T best[kBlock] = {};
                   std::int64_t where[kBlock] = {}, index = 0;
                   for_each_offset(args.reduced, [&](std::int64_t offset) {
                     const T* from = x + begin + offset;
                     for (std::int64_t i = 0; i < count; ++i) {
                       const T value = from[i * step];
                       const bool taken = index == 0 || beats(value, best[i], least);
                       best[i] = taken ? value : best[i];
                       where[i] = taken ? index : where[i];
                     }
                     ++index;
                   });
                   if (place) {
                     std::copy_n(where, count, reinterpret_cast<std::int64_t*>(args.out) + to);
                   } else {
                     std::copy_n(best, count, reinterpret_cast<T*>(args.out) + to);
                   }
                 });
}

}  // namespace

void reduce_move(const reduce_args& args, const part& part) {
  const bool adds = args.function == plan::reduction::sum || args.function == plan::reduction::mean;
  switch (args.element) {
    case plan::type::f32:
      return adds ? sums<float, double>(args, part) : extremes<float>(args, part);
    case plan::type::s64:
      return adds ? sums<std::int64_t, std::uint64_t>(args, part) : extremes<std::int64_t>(args, part);
    case plan::type::s32:
      return adds ? sums<std::int32_t, std::uint64_t>(args, part) : extremes<std::int32_t>(args, part);
    default:
      return extremes<std::uint8_t>(args, part);
  }
}

}  // namespace edgekit
