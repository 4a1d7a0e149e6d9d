// The float words that go value by value or over whole dimensions.
#include "floats.h"
#include "invocation.h"

namespace edgekit {

namespace {

constexpr i64 kFunctionBytes = 64;  // computing a function in float64 takes as long as moving so many bytes

template <class Function>
Function function_of(const site& at, u32 number) {
  at.need(number < static_cast<u32>(Function::count), "its function is not known");
  return static_cast<Function>(number);
}

void need_binary(const site& at, plan::type element, plan::binary function) {
  using plan::binary;
  using plan::type;
  const bool extreme = function == binary::max || function == binary::min;
  const bool whole = extreme || function == binary::add || function == binary::sub || function == binary::mul;
  at.need(element == type::f32 || ((element == type::s64 || element == type::s32) && whole) ||
              (element == type::boolean && extreme),
          std::string("there is no such function of ") + name(element));
}

void need_reduction_of(const site& at, plan::type element, plan::reduction function) {
  using plan::reduction;
  using plan::type;
  const bool known = element == type::f32 || element == type::s64 || element == type::s32 || element == type::boolean;
  const bool sum = function == reduction::sum && element != type::boolean;
  const bool mean = function == reduction::mean && element == type::f32;
  at.need(known && (sum || mean || (function != reduction::sum && function != reduction::mean)),
          std::string("there is no such reduction of ") + name(element));
}

i64 unit(const tensor& t) {
  return static_cast<i64>(bytes_of(t.element));
}

}  // namespace

invocation call_binary(const site& at) {
  const tensor &a = at.in(0), &b = at.in(1), &out = at.out();
  maker<binary_args> make(at);
  make.args.along = walk_of<2>(at);
  make.args.element = out.element;
  make.args.function = function_of<plan::binary>(at, at.own<plan::attributes::binary>().function);
  at.need(a.element == out.element && b.element == out.element, "a, b and out are of different types");
  need_binary(at, out.element, make.args.function);
  make.read(make.args.a, 0);
  make.read(make.args.b, 1);
  make.write(make.args.out);
  if (make.args.function == plan::binary::pow) make.result.bytes += elements(out) * kFunctionBytes;
  return make.as_move<binary_move>("binary");
}

invocation call_compare(const site& at) {
  at.need(at.in(0).element == at.in(1).element, "a and b are of different types");
  at.need_type(at.out(), plan::type::boolean);
  maker<compare_args> make(at);
  make.args.along = walk_of<2>(at);
  make.args.element = at.in(0).element;
  make.args.function = function_of<plan::comparison>(at, at.own<plan::attributes::compare>().function);
  make.read(make.args.a, 0);
  make.read(make.args.b, 1);
  make.write(make.args.out);
  return make.as_move<compare_move>("compare");
}

invocation call_unary_f32(const site& at) {
  const tensor &x = at.in(0), &out = at.out();
  at.need_type(x, plan::type::f32);
  at.need_type(out, plan::type::f32);
  at.need(same_sizes(x, out), "x and out have different sizes");
  maker<unary_f32_args> make(at);
  make.args.along = walk_of<1>(at);
  make.args.function = function_of<plan::unary>(at, at.own<plan::attributes::unary_f32>().function);
  make.read(make.args.x, 0);
  make.write(make.args.out);
  if (make.args.function >= plan::unary::rsqrt) make.result.bytes += elements(out) * kFunctionBytes;
  return make.as_move<unary_f32_move>("unary_f32");
}

invocation call_select(const site& at) {
  const tensor& out = at.out();
  at.need_type(at.in(0), plan::type::boolean);
  at.need(at.in(1).element == out.element && at.in(2).element == out.element, "a, b and out are of different types");
  maker<select_args> make(at);
  make.args.along = walk_of<3>(at);
  make.args.bytes = unit(out);
  make.read(make.args.condition, 0);
  make.read(make.args.a, 1);
  make.read(make.args.b, 2);
  make.write(make.args.out);
  return make.as_move<select_move>("select");
}

invocation call_cast(const site& at) {
  const tensor &x = at.in(0), &out = at.out();
  at.need(same_sizes(x, out), "x and out have different sizes");
  maker<cast_args> make(at);
  make.args.along = walk_of<1>(at);
  make.args.from = x.element;
  make.args.to = out.element;
  make.read(make.args.x, 0);
  make.write(make.args.out);
  return make.as_move<cast_move>("cast");
}

invocation call_reduce(const site& at) {
  const auto& own = at.own<plan::attributes::reduce>();
  const tensor &x = at.in(0), &out = at.out();
  maker<reduce_args> make(at);
  make.args.element = x.element;
  make.args.function = function_of<plan::reduction>(at, own.function);
  need_reduction_of(at, x.element, make.args.function);
  const bool place = make.args.function >= plan::reduction::argmax;
  at.need_type(out, place ? plan::type::s64 : x.element);
  split_axes(at, own.axes, make.args.kept, make.args.reduced);
  i64 values = 1;
  for (int d = 0; d < make.args.reduced.dims; ++d) values *= make.args.reduced.size[d];
  at.need(values >= 1, "it reduces no values");
  make.read(make.args.x, 0);
  make.write(make.args.out);
  return make.as_move<reduce_move>("reduce");
}

}  // namespace edgekit
