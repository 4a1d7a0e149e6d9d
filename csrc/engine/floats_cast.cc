// Values of one type as another: whole numbers wrap as in C, a float outside the range of whole numbers becomes the
// nearest end of it, and NaN 0; a truth value is whether something is not 0.
#include <limits>
#include <type_traits>

#include "floats.h"

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
void cast_rows(const cast_args& args, const part& part) {
  const auto* x = reinterpret_cast<const From*>(args.x);
  auto* out = reinterpret_cast<To*>(args.out);
  const std::int64_t x_step = args.along.last_step(0), step = args.along.last_step(1);
  for_each_row(args.along, part, [&](const row_of<2>& at) {
    const From* from = x + at.offset[0];
    To* to = out + at.offset[1];
    if (x_step == 1 && step == 1) {
      for (std::int64_t i = 0; i < at.length; ++i) to[i] = converted<To>(from[i]);
    } else {
      for (std::int64_t i = 0; i < at.length; ++i) to[i * step] = converted<To>(from[i * x_step]);
    }
  });
}

template <class From>
void cast_from(const cast_args& args, const part& part) {
  switch (args.to) {
    case plan::type::s8:
      return cast_rows<From, std::int8_t>(args, part);
    case plan::type::u8:
      return cast_rows<From, std::uint8_t>(args, part);
    case plan::type::s16:
      return cast_rows<From, std::int16_t>(args, part);
    case plan::type::s32:
      return cast_rows<From, std::int32_t>(args, part);
    case plan::type::s64:
      return cast_rows<From, std::int64_t>(args, part);
    case plan::type::f32:
      return cast_rows<From, float>(args, part);
    case plan::type::boolean:
      return cast_rows<From, Truth>(args, part);
  }
}

}  // namespace

void cast_move(const cast_args& args, const part& part) {
  switch (args.from) {
    case plan::type::s8:
      return cast_from<std::int8_t>(args, part);
    case plan::type::u8:
      return cast_from<std::uint8_t>(args, part);
    case plan::type::s16:
      return cast_from<std::int16_t>(args, part);
    case plan::type::s32:
      return cast_from<std::int32_t>(args, part);
    case plan::type::s64:
      return cast_from<std::int64_t>(args, part);
    case plan::type::f32:
      return cast_from<float>(args, part);
    case plan::type::boolean:
      return cast_from<Truth>(args, part);
  }
}

}  // namespace edgekit
