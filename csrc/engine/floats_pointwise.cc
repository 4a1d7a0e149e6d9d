// Values by themselves or in pairs: sums, products, comparisons, functions, choices.
#include <algorithm>
#include <cstring>

#include "floats.h"
#include "floats_functions.h"

namespace edgekit {

namespace {

constexpr std::int64_t kBlock =
    256;  // values that wait in a buffer: out may be a or b, and the loops are of neighbours

template <class T, class Out, class F>
void apply(const T* a, std::int64_t step_a, const T* b, std::int64_t step_b, std::int64_t count, Out* block, F f) {
  if (step_a == 1 && step_b == 1) {
    for (std::int64_t i = 0; i < count; ++i) block[i] = f(a[i], b[i]);
  } else if (step_a == 1 && step_b == 0) {
    const T second = *b;
    for (std::int64_t i = 0; i < count; ++i) block[i] = f(a[i], second);
  } else if (step_a == 0 && step_b == 1) {
    const T first = *a;
    for (std::int64_t i = 0; i < count; ++i) block[i] = f(first, b[i]);
  } else {
    for (std::int64_t i = 0; i < count; ++i) block[i] = f(a[i * step_a], b[i * step_b]);
  }
}

template <class T>
void put(const T* block, std::int64_t count, T* out, std::int64_t step) {
  if (step == 1) {
    std::memcpy(out, block, static_cast<std::size_t>(count) * sizeof(T));
  } else {
    for (std::int64_t i = 0; i < count; ++i) out[i * step] = block[i];
  }
}

// out = f(a, b) for a and b of T, out of Out.
template <class T, class Out, class Args, class F>
void pairs(const Args& args, const part& part, F f) {
  const auto *a = reinterpret_cast<const T*>(args.a), *b = reinterpret_cast<const T*>(args.b);
  auto* out = reinterpret_cast<Out*>(args.out);
  const std::int64_t step_a = args.along.last_step(0), step_b = args.along.last_step(1), step = args.along.last_step(2);
  for_each_row(args.along, part, [&](const row_at& at) {
    for (std::int64_t first = 0; first < at.length; first += kBlock) {
      Out block[kBlock];
      const std::int64_t count = std::min(kBlock, at.length - first);
      apply(a + at.offset[0] + first * step_a, step_a, b + at.offset[1] + first * step_b, step_b, count, block, f);
      put(block, count, out + at.offset[2] + first * step, step);
    }
  });
}

template <class T>
T larger(T a, T b) {
  return a > b || a != a ? a : b;  // NaN wins, as in torch
}

template <class T>
T lesser(T a, T b) {
  return a < b || a != a ? a : b;
}

void reals(const binary_args& args, const part& part) {
  using plan::binary;
  switch (args.function) {
    case binary::add:
      return pairs<float, float>(args, part, [](float a, float b) { return a + b; });
    case binary::sub:
      return pairs<float, float>(args, part, [](float a, float b) { return a - b; });
    case binary::mul:
      return pairs<float, float>(args, part, [](float a, float b) { return a * b; });
    case binary::div:
      return pairs<float, float>(args, part, [](float a, float b) { return a / b; });
    case binary::max:
      return pairs<float, float>(args, part, larger<float>);
    case binary::min:
      return pairs<float, float>(args, part, lesser<float>);
    default:
      return pairs<float, float>(args, part, [](float a, float b) {
        return static_cast<float>(std::pow(static_cast<double>(a), static_cast<double>(b)));
      });
  }
}

// Whole numbers wrap, so they are added without a sign.
template <class T, class Bits>
void wholes(const binary_args& args, const part& part) {
  using plan::binary;
  switch (args.function) {
    case binary::add:
      return pairs<Bits, Bits>(args, part, [](Bits a, Bits b) { return a + b; });
    case binary::sub:
      return pairs<Bits, Bits>(args, part, [](Bits a, Bits b) { return a - b; });
    case binary::mul:
      return pairs<Bits, Bits>(args, part, [](Bits a, Bits b) { return a * b; });
    case binary::max:
      return pairs<T, T>(args, part, larger<T>);
    default:
      return pairs<T, T>(args, part, lesser<T>);
  }
}

void truths(const binary_args& args, const part& part) {
  using Byte = std::uint8_t;
  if (args.function == plan::binary::max)
    return pairs<Byte, Byte>(args, part, [](Byte a, Byte b) { return static_cast<Byte>((a | b) != 0); });
  pairs<Byte, Byte>(args, part, [](Byte a, Byte b) { return static_cast<Byte>((a != 0) & (b != 0)); });
}

template <class T>
void comparisons(const compare_args& args, const part& part) {
  using plan::comparison;
  using Byte = std::uint8_t;
  switch (args.function) {
    case comparison::eq:
      return pairs<T, Byte>(args, part, [](T a, T b) { return static_cast<Byte>(a == b); });
    case comparison::ne:
      return pairs<T, Byte>(args, part, [](T a, T b) { return static_cast<Byte>(a != b); });
    case comparison::lt:
      return pairs<T, Byte>(args, part, [](T a, T b) { return static_cast<Byte>(a < b); });
    case comparison::le:
      return pairs<T, Byte>(args, part, [](T a, T b) { return static_cast<Byte>(a <= b); });
    case comparison::gt:
      return pairs<T, Byte>(args, part, [](T a, T b) { return static_cast<Byte>(a > b); });
    default:
      return pairs<T, Byte>(args, part, [](T a, T b) { return static_cast<Byte>(a >= b); });
  }
}

// A truth value is any byte that is not 0.
struct Truth {
  std::uint8_t byte;

  bool operator==(Truth other) const { return (byte != 0) == (other.byte != 0); }
  bool operator!=(Truth other) const { return !(*this == other); }
  bool operator<(Truth other) const { return byte == 0 && other.byte != 0; }
  bool operator>(Truth other) const { return other < *this; }
  bool operator<=(Truth other) const { return !(other < *this); }
  bool operator>=(Truth other) const { return !(*this < other); }
};

template <class F>
void singles(const unary_f32_args& args, const part& part, F f) {
  const std::int64_t x_step = args.along.last_step(0), step = args.along.last_step(1);
  for_each_row(args.along, part, [&](const row_of<2>& at) {
    for (std::int64_t first = 0; first < at.length; first += kBlock) {
      float block[kBlock];
      const float* x = args.x + at.offset[0] + first * x_step;
      const std::int64_t count = std::min(kBlock, at.length - first);
      if (x_step == 1) {
        for (std::int64_t i = 0; i < count; ++i) block[i] = f(x[i]);
      } else {
        for (std::int64_t i = 0; i < count; ++i) block[i] = f(x[i * x_step]);
      }
      put(block, count, args.out + at.offset[1] + first * step, step);
    }
  });
}

using Wide = double (*)(double);

void wide(const unary_f32_args& args, const part& part, Wide f) {
  singles(args, part, [f](float x) { return static_cast<float>(f(static_cast<double>(x))); });
}

Wide wide_of(plan::unary function) {
  using plan::unary;
  switch (function) {
    case unary::rsqrt:
      return [](double x) { return 1 / std::sqrt(x); };
    case unary::silu:
      return [](double x) { return x * sigmoid(x); };
    case unary::mish:
      return [](double x) { return x * std::tanh(softplus(x)); };
    case unary::sigmoid:
      return sigmoid;
    case unary::log_sigmoid:
      return log_sigmoid;
    case unary::gelu:
      return gelu;
    case unary::gelu_tanh:
      return gelu_tanh;
    case unary::softplus:
      return softplus;
#define LIBRARY(name) \
  case unary::name:   \
    return [](double x) { return std::name(x); };
      LIBRARY(exp)
      LIBRARY(exp2)
      LIBRARY(expm1)
      LIBRARY(log)
      LIBRARY(log2)
      LIBRARY(log10)
      LIBRARY(log1p)
      LIBRARY(sin)
      LIBRARY(cos)
      LIBRARY(tan)
      LIBRARY(asin)
      LIBRARY(acos)
      LIBRARY(atan)
      LIBRARY(sinh)
      LIBRARY(cosh)
      LIBRARY(tanh)
      LIBRARY(asinh)
      LIBRARY(acosh)
      LIBRARY(atanh)
      LIBRARY(erf)
      LIBRARY(erfc)
#undef LIBRARY
    default:
      return nullptr;
  }
}

template <class T>
void choices(const select_args& args, const part& part) {
  const auto *a = reinterpret_cast<const T*>(args.a), *b = reinterpret_cast<const T*>(args.b);
  auto* out = reinterpret_cast<T*>(args.out);
  const std::int64_t step_if = args.along.last_step(0), step_a = args.along.last_step(1),
                     step_b = args.along.last_step(2), step = args.along.last_step(3);
  for_each_row(args.along, part, [&](const row_of<4>& at) {
    for (std::int64_t first = 0; first < at.length; first += kBlock) {
      T block[kBlock];
      const std::int64_t count = std::min(kBlock, at.length - first);
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t k = first + i;
        const T one = a[at.offset[1] + k * step_a], other = b[at.offset[2] + k * step_b];
        block[i] = args.condition[at.offset[0] + k * step_if] ? one : other;
      }
      put(block, count, out + at.offset[3] + first * step, step);
    }
  });
}

}  // namespace

void binary_move(const binary_args& args, const part& part) {
  switch (args.element) {
    case plan::type::f32:
      return reals(args, part);
    case plan::type::s64:
      return wholes<std::int64_t, std::uint64_t>(args, part);
    case plan::type::s32:
      return wholes<std::int32_t, std::uint32_t>(args, part);
    default:
      return truths(args, part);
  }
}

void compare_move(const compare_args& args, const part& part) {
  switch (args.element) {
    case plan::type::s8:
      return comparisons<std::int8_t>(args, part);
    case plan::type::u8:
      return comparisons<std::uint8_t>(args, part);
    case plan::type::s16:
      return comparisons<std::int16_t>(args, part);
    case plan::type::s32:
      return comparisons<std::int32_t>(args, part);
    case plan::type::s64:
      return comparisons<std::int64_t>(args, part);
    case plan::type::f32:
      return comparisons<float>(args, part);
    default:
      return comparisons<Truth>(args, part);
  }
}

void unary_f32_move(const unary_f32_args& args, const part& part) {
  using plan::unary;
  switch (args.function) {
    case unary::neg:
      return singles(args, part, [](float x) { return -x; });
    case unary::abs:
      return singles(args, part, [](float x) { return std::fabs(x); });
    case unary::sign:
      return singles(args, part, [](float x) { return static_cast<float>((x > 0) - (x < 0)); });
    case unary::relu:
      return singles(args, part, relu);
    case unary::sqrt:
      return singles(args, part, [](float x) { return std::sqrt(x); });
    case unary::reciprocal:
      return singles(args, part, [](float x) { return 1 / x; });
    case unary::floor:
      return singles(args, part, [](float x) { return std::floor(x); });
    case unary::ceil:
      return singles(args, part, [](float x) { return std::ceil(x); });
    case unary::trunc:
      return singles(args, part, [](float x) { return std::trunc(x); });
    case unary::round:
      return singles(args, part, round_to_even);
    default:
      return wide(args, part, wide_of(args.function));
  }
}

void select_move(const select_args& args, const part& part) {
  switch (args.bytes) {
    case 1:
      return choices<std::uint8_t>(args, part);
    case 2:
      return choices<std::uint16_t>(args, part);
    case 4:
      return choices<std::uint32_t>(args, part);
    default:
      return choices<std::uint64_t>(args, part);
  }
}

}  // namespace edgekit
