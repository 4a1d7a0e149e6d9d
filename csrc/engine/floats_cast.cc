// Values of one type as another: whole numbers wrap as in C, a float outside the range of whole numbers becomes the
// nearest end of it, and NaN 0; a truth value is whether something is not 0.
#include <limits>
#include <type_traits>

#include "floats.h"
#include "floats_blocks.h"
#include "view.h"

namespace edgekit {

namespace {

struct Truth {
  std::uint8_t byte;
};

template <class To, class From>
To converted(From x) {
  if constexpr (std::is_same_v<From, Truth>) {
    return converted<To>(static_cast<std::int32_t>(x.byte != 0));
  } else if constexpr (std::is_same_v<To, Truth>) {
    return {static_cast<std::uint8_t>(x != 0)};
  } else if constexpr (std::is_same_v<From, float> && !std::is_same_v<To, float>) {
    using limits = std::numeric_limits<To>;
    const double value = x;
    if (!(value > static_cast<double>(limits::min()))) return value == value ? limits::min() : To{0};
    return value >= static_cast<double>(limits::max()) ? limits::max() : static_cast<To>(value);
  } else {
    return static_cast<To>(x);
  }
}

template <class From, class To>
void cast_block(const void* const* in, std::int64_t count, void* out) {
  const auto* x = static_cast<const From*>(in[0]);
  auto* to = static_cast<To*>(out);
  for (std::int64_t i = 0; i < count; ++i) to[i] = converted<To>(x[i]);
}

template <class From>
block_function from_type(plan::type to) {
  switch (to) {
    case plan::type::s8:
      return cast_block<From, std::int8_t>;
    case plan::type::u8:
      return cast_block<From, std::uint8_t>;
    case plan::type::s16:
      return cast_block<From, std::int16_t>;
    case plan::type::s32:
      return cast_block<From, std::int32_t>;
    case plan::type::s64:
      return cast_block<From, std::int64_t>;
    case plan::type::f32:
      return cast_block<From, float>;
    default:
      return cast_block<From, Truth>;
  }
}

block_function function_of(const cast_args& args) {
  switch (args.from) {
    case plan::type::s8:
      return from_type<std::int8_t>(args.to);
    case plan::type::u8:
      return from_type<std::uint8_t>(args.to);
    case plan::type::s16:
      return from_type<std::int16_t>(args.to);
    case plan::type::s32:
      return from_type<std::int32_t>(args.to);
    case plan::type::s64:
      return from_type<std::int64_t>(args.to);
    case plan::type::f32:
      return from_type<float>(args.to);
    default:
      return from_type<Truth>(args.to);
  }
}

}  // namespace

void cast_move(const cast_args& args, const part& part) {
  const auto from = static_cast<std::int64_t>(bytes_of(args.from)), to = static_cast<std::int64_t>(bytes_of(args.to));
  in_blocks<1>(args.along, part, {args.x}, {from, to}, args.out, function_of(args));
}

}  // namespace edgekit
