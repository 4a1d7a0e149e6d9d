// What moves bytes of any type: copies, gathers, fills, and the zeros around images.
#include "invocation.h"
#include "moves.h"

namespace edgekit {

namespace {

i64 unit(const tensor& t) {
  return static_cast<i64>(bytes_of(t.element));
}

void need_one_type(const site& at) {
  at.need(at.in(0).element == at.out().element, "x and out have different types");
}

}  // namespace

invocation call_copy(const site& at) {
  const tensor &x = at.in(0), &out = at.out();
  need_one_type(at);
  at.need(same_sizes(x, out), "x and out have different sizes");
  maker<copy_args> make(at);
  set_steps(make.args.along, 0, x, unit(x));
  set_steps(make.args.along, 1, out, unit(out));
  make.args.along = merged(make.args.along, 1);
  make.args.bytes = unit(x);
  make.read(make.args.x, 0);
  make.write(make.args.out);
  make.result.flip = make.offset(&make.args.flip);
  return make.as_move<copy_move>("copy");
}

invocation call_fill(const site& at) {
  const i64 value = at.own<plan::attributes::fill>().value;
  at.need(value >= -128 && value <= 255, "its value is not a byte");
  maker<fill_args> make(at);
  set_steps(make.args.along, 0, at.out(), unit(at.out()));
  make.args.along = merged(make.args.along, 0);
  make.args.bytes = unit(at.out());
  make.args.value = static_cast<std::uint8_t>(value);
  make.write(make.args.out);
  make.result.flip = make.offset(&make.args.flip);
  return make.as_move<fill_move>("fill");
}

invocation call_halo(const site& at) {
  const auto& own = at.own<plan::attributes::halo>();
  const tensor& x = at.out();
  at.need_s8({&x});
  const tensor all = touched_output(at.plan, at.op, 0);
  maker<halo_args> make(at);
  halo_args& args = make.args;
  make.write(args.x);
  make.result.pointers.back().view = all;
  args.step = {all.step[0], all.step[3], all.step[1], all.step[2]};
  args.images = all.size[0];
  args.channels = all.size[3];
  args.size = {all.size[1], all.size[2]};
  args.top = own.top;
  args.left = own.left;
  args.bottom = own.bottom;
  args.right = own.right;
  make.result.flip = make.offset(&args.flip);
  return make.as_move<halo_move>("halo");
}

invocation call_gather(const site& at) {
  const i64 value = at.own<plan::attributes::gather>().value;
  const tensor &x = at.in(0), &index = at.in(1), &out = at.out();
  need_one_type(at);
  at.need_dense(x);
  at.need(value >= -128 && value <= 255, "its value is not a byte");
  at.need(index.kind == plan::storage::constant && index.element == plan::type::s32 && is_dense(index),
          "its index is not a dense constant s32");
  at.need(same_sizes(index, out), "index and out have different sizes");
  const auto* first = reinterpret_cast<const std::int32_t*>(at.plan.data + index.region + index.first);
  const i64 count = elements(x);
  for (i64 i = 0; i < elements(index); ++i) at.need(first[i] >= -1 && first[i] < count, "an index is outside x");
  maker<gather_args> make(at);
  set_steps(make.args.along, 0, index, 1);
  set_steps(make.args.along, 1, out, unit(out));
  make.args.along = merged(make.args.along, 1);
  make.args.bytes = unit(out);
  make.args.value = static_cast<std::uint8_t>(value);
  make.read(make.args.x, 0);
  make.parameter(make.args.index, 1);
  make.write(make.args.out);
  make.result.flip = make.offset(&make.args.flip);
  make.result.value_flip = make.offset(&make.args.value_flip);
  return make.as_move<gather_move>("gather");
}

invocation call_take(const site& at) {
  const tensor &x = at.in(0), &index = at.in(1), &out = at.out();
  need_one_type(at);
  for (const tensor* t : {&x, &index, &out}) at.need_dense(*t);
  const bool wide = index.element == plan::type::s64;
  at.need(wide || index.element == plan::type::s32, "its index is neither s64 nor s32");
  at.need(x.dims >= 1 && out.dims == index.dims + x.dims - 1, "x, index and out do not fit each other");
  maker<take_args> make(at);
  make.args.count = elements(index);
  make.args.row_bytes = unit(x);
  for (u32 d = 0; d < index.dims; ++d) at.need(out.size[d] == index.size[d], "index and out have different sizes");
  for (u32 d = 1; d < x.dims; make.args.row_bytes *= x.size[d++])
    at.need(out.size[index.dims + d - 1] == x.size[d], "x and out have different sizes");
  make.args.rows = x.size[0];
  make.args.wide = wide;
  make.read(make.args.x, 0);
  make.read(make.args.index, 1);
  make.write(make.args.out);
  make.result.flip = make.offset(&make.args.flip);
  make.result.failed = make.offset(&make.args.failed);
  return make.as_move<take_move>("take");
}

}  // namespace edgekit
