// Values by themselves or in pairs: sums, products, comparisons, functions, choices.
#include <cmath>

#include "floats.h"
#include "floats_blocks.h"
#include "floats_functions.h"
#include "view.h"

namespace edgekit {

namespace {

using Byte = std::uint8_t;

template <class T, class Out, Out (*f)(T, T)>
void pairs(const void* const* in, std::int64_t count, void* out) {
  const auto *a = static_cast<const T*>(in[0]), *b = static_cast<const T*>(in[1]);
  auto* to = static_cast<Out*>(out);
  for (std::int64_t i = 0; i < count; ++i) to[i] = f(a[i], b[i]);
}

template <float (*f)(float)>
void singles(const void* const* in, std::int64_t count, void* out) {
  const auto* x = static_cast<const float*>(in[0]);
  auto* to = static_cast<float*>(out);
  for (std::int64_t i = 0; i < count; ++i) to[i] = f(x[i]);
}

template <class T>
T add(T a, T b) {
  return a + b;
}

template <class T>
T sub(T a, T b) {
  return a - b;
}

template <class T>
T mul(T a, T b) {
  return a * b;
}

float div(float a, float b) {
  return a / b;
}

float pow(float a, float b) {
  return static_cast<float>(std::pow(static_cast<double>(a), static_cast<double>(b)));
}

template <class T>
T larger(T a, T b) {
  return a > b || a != a ? a : b;  // NaN wins, as in torch
}

template <class T>
T lesser(T a, T b) {
  return a < b || a != a ? a : b;
}

Byte either(Byte a, Byte b) {
  return static_cast<Byte>((a | b) != 0);
}

Byte both(Byte a, Byte b) {
  return static_cast<Byte>((a != 0) & (b != 0));
}

template <class T>
Byte eq(T a, T b) {
  return static_cast<Byte>(a == b);
}

template <class T>
Byte ne(T a, T b) {
  return static_cast<Byte>(a != b);
}

template <class T>
Byte lt(T a, T b) {
  return static_cast<Byte>(a < b);
}

template <class T>
Byte le(T a, T b) {
  return static_cast<Byte>(a <= b);
}

template <class T>
Byte gt(T a, T b) {
  return static_cast<Byte>(a > b);
}

template <class T>
Byte ge(T a, T b) {
  return static_cast<Byte>(a >= b);
}

// A truth value is any byte that is not 0.
struct Truth {
  Byte byte;

  bool operator==(Truth other) const { return (byte != 0) == (other.byte != 0); }
  bool operator!=(Truth other) const { return !(*this == other); }
  bool operator<(Truth other) const { return byte == 0 && other.byte != 0; }
  bool operator>(Truth other) const { return other < *this; }
  bool operator<=(Truth other) const { return !(other < *this); }
  bool operator>=(Truth other) const { return !(*this < other); }
};

block_function of_reals(plan::binary function) {
  using plan::binary;
  switch (function) {
    case binary::add:
      return pairs<float, float, add>;
    case binary::sub:
      return pairs<float, float, sub>;
    case binary::mul:
      return pairs<float, float, mul>;
    case binary::div:
      return pairs<float, float, div>;
    case binary::max:
      return pairs<float, float, larger>;
    case binary::min:
      return pairs<float, float, lesser>;
    default:
      return pairs<float, float, pow>;
  }
}

// Whole numbers wrap, so they are added without a sign.
template <class T, class Bits>
block_function of_wholes(plan::binary function) {
  using plan::binary;
  switch (function) {
    case binary::add:
      return pairs<Bits, Bits, add>;
    case binary::sub:
      return pairs<Bits, Bits, sub>;
    case binary::mul:
      return pairs<Bits, Bits, mul>;
    case binary::max:
      return pairs<T, T, larger>;
    default:
      return pairs<T, T, lesser>;
  }
}

block_function function_of(const binary_args& args) {
  switch (args.element) {
    case plan::type::f32:
      return of_reals(args.function);
    case plan::type::s64:
      return of_wholes<std::int64_t, std::uint64_t>(args.function);
    case plan::type::s32:
      return of_wholes<std::int32_t, std::uint32_t>(args.function);
    default:
      return args.function == plan::binary::max ? pairs<Byte, Byte, either> : pairs<Byte, Byte, both>;
  }
}

template <class T>
block_function of_type(plan::comparison function) {
  using plan::comparison;
  switch (function) {
    case comparison::eq:
      return pairs<T, Byte, eq>;
    case comparison::ne:
      return pairs<T, Byte, ne>;
    case comparison::lt:
      return pairs<T, Byte, lt>;
    case comparison::le:
      return pairs<T, Byte, le>;
    case comparison::gt:
      return pairs<T, Byte, gt>;
    default:
      return pairs<T, Byte, ge>;
  }
}

block_function function_of(const compare_args& args) {
  switch (args.element) {
    case plan::type::s8:
      return of_type<std::int8_t>(args.function);
    case plan::type::u8:
      return of_type<std::uint8_t>(args.function);
    case plan::type::s16:
      return of_type<std::int16_t>(args.function);
    case plan::type::s32:
      return of_type<std::int32_t>(args.function);
    case plan::type::s64:
      return of_type<std::int64_t>(args.function);
    case plan::type::f32:
      return of_type<float>(args.function);
    default:
      return of_type<Truth>(args.function);
  }
}

block_function function_of(const unary_f32_args& args) {
#define NUMBERED(name) singles<functions::name>,
  static constexpr block_function kFunctions[] = {EDGEKIT_UNARY(NUMBERED)};
#undef NUMBERED
  return kFunctions[static_cast<std::uint32_t>(args.function)];
}

template <class T>
void choices(const void* const* in, std::int64_t count, void* out) {
  const auto* condition = static_cast<const Byte*>(in[0]);
  const auto *a = static_cast<const T*>(in[1]), *b = static_cast<const T*>(in[2]);
  auto* to = static_cast<T*>(out);
  for (std::int64_t i = 0; i < count; ++i) to[i] = condition[i] ? a[i] : b[i];
}

block_function function_of(const select_args& args) {
  switch (args.bytes) {
    case 1:
      return choices<std::uint8_t>;
    case 2:
      return choices<std::uint16_t>;
    case 4:
      return choices<std::uint32_t>;
    default:
      return choices<std::uint64_t>;
  }
}

std::int64_t bytes(plan::type element) {
  return static_cast<std::int64_t>(bytes_of(element));
}

}  // namespace

void binary_move(const binary_args& args, const part& part) {
  const std::int64_t unit = bytes(args.element);
  in_blocks<2>(args.along, part, {args.a, args.b}, {unit, unit, unit}, args.out, function_of(args));
}

void compare_move(const compare_args& args, const part& part) {
  const std::int64_t unit = bytes(args.element);
  in_blocks<2>(args.along, part, {args.a, args.b}, {unit, unit, 1}, args.out, function_of(args));
}

void unary_f32_move(const unary_f32_args& args, const part& part) {
  in_blocks<1>(args.along, part, {args.x}, {4, 4}, args.out, function_of(args));
}

void select_move(const select_args& args, const part& part) {
  in_blocks<3>(args.along, part, {args.condition, args.a, args.b}, {1, args.bytes, args.bytes, args.bytes}, args.out,
               function_of(args));
}

}  // namespace edgekit
