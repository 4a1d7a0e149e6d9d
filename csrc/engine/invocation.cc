#include "invocation.h"

#include <algorithm>
#include <cmath>

#include "failure.h"

namespace edgekit {

void site::need(bool condition, const std::string& what) const {
  if (!condition) throw failure(EK_BAD_FILE, named(plan, op) + ": " + what + ".");
}

void site::need_type(const tensor& t, plan::type type) const {
  need(t.element == type, named(plan, t) + " is " + name(t.element) + " and not " + name(type));
}

void site::need_dense(const tensor& t) const {
  need(is_dense(t), named(plan, t) + " is not dense");
}

void site::need_s8(std::initializer_list<const tensor*> operands) const {
  for (const tensor* t : operands) need_type(*t, plan::type::s8);
}

void site::need_sizes(const tensor& t, std::initializer_list<i64> sizes) const {
  const bool fits = t.dims == sizes.size() && std::equal(sizes.begin(), sizes.end(), t.size);
  need(fits, named(plan, t) + " does not have the sizes that the other operands ask for");
}

void site::need_constant(u32 input, plan::type type, std::initializer_list<i64> sizes) const {
  const tensor& t = in(input);
  need(t.kind == plan::storage::constant, named(plan, t) + " is not a constant");
  need_type(t, type);
  need_sizes(t, sizes);
  need_dense(t);
}

void site::need_finite(u32 input, i64 skip) const {
  const tensor& t = in(input);
  const auto* values = reinterpret_cast<const float*>(plan.data + t.region + t.first);
  for (i64 i = skip; i < elements(t); ++i)
    need(std::isfinite(values[i]), named(plan, t) + " holds a number that is not finite");
}

void site::need_bounds(int lo, int hi) const {
  need(-128 <= lo && lo <= hi && hi <= 127, "its bounds are not -128 <= lo <= hi <= 127");
}

void site::need_normal(double value, const char* what) const {
  constexpr double kLeast = 1.17549435082228750797e-38, kMost = 3.40282346638528859812e+38;  // of float32
  need(value >= kLeast && value <= kMost, std::string(what) + " is not a normal positive float32");
}

void site::need_ratio(float ratio) const {
  constexpr float kMost = 1048576.0f;  // 2^20
  need(std::fabs(ratio) >= 1 / kMost && std::fabs(ratio) <= kMost, "a ratio lies outside [2^-20, 2^20]");
}

void site::need_eps(double eps) const {
  need(eps >= 0 && eps <= 3.40282346638528859812e+38, "eps is not finite or negative");
}

void site::need_reduction(i64 values) const {
  need(values >= 0 && values <= 131071, "a sum is over more than 131,071 products, which int32 does not hold");
}

void site::need_set(i64 values) const {
  need(values >= 1 && values < (1 << 24), "a set does not hold 1 to 2^24 - 1 values");
}

void set_steps(grid& along, int array, const tensor& t, i64 bytes) {
  along.dims = static_cast<int>(t.dims);
  for (u32 d = 0; d < t.dims; ++d) {
    along.size[d] = t.size[d];
    along.step[array][d] = t.step[d] * bytes;
  }
}

void split_axes(const site& at, u32 chosen, axes& kept, axes& reduced) {
  const tensor &x = at.in(0), &out = at.out();
  at.need_dense(out);
  at.need(!repeats(x), "x repeats an element");
  at.need(chosen >> x.dims == 0, "it names a dimension that x lacks");
  const bool keeps = out.dims == x.dims;
  u32 to = 0;
  for (u32 d = 0; d < x.dims; ++d) {
    const bool gone = (chosen >> d & 1) != 0;
    if (!gone || keeps) {
      at.need(to < out.dims && out.size[to] == (gone ? 1 : x.size[d]),
              "out does not have the sizes that are left of x");
      ++to;
    }
    axes& side = gone ? reduced : kept;
    const int last = side.dims - 1;
    if (x.size[d] == 1) continue;
    if (last >= 0 && side.step[last] == x.step[d] * x.size[d]) {
      side.size[last] *= x.size[d];
      side.step[last] = x.step[d];
    } else {
      side.size[side.dims] = x.size[d];
      side.step[side.dims++] = x.step[d];
    }
  }
  at.need(to == out.dims, "out does not have the sizes that are left of x");
}

void set_batch(const site& at, broadcast& batch) {
  const tensor &a = at.in(0), &b = at.in(1), &out = at.out();
  const u32 dims = out.dims, leading = dims - 2;
  i64 step_a = 1, step_b = 1, step_out = 1;
  batch.dims = static_cast<int>(std::max(leading, 1u));
  batch.size[0] = batch.step_out[0] = 1;
  for (u32 d = leading; d-- > 0;) {
    const i64 size_a = d + a.dims >= dims ? a.size[d + a.dims - dims] : 1,
              size_b = d + b.dims >= dims ? b.size[d + b.dims - dims] : 1;
    at.need((size_a == out.size[d] || size_a == 1) && (size_b == out.size[d] || size_b == 1) &&
                (size_a == out.size[d] || size_b == out.size[d]),
            "a and b do not broadcast to out");
    batch.size[d] = out.size[d];
    batch.step_a[d] = size_a == 1 ? 0 : step_a;
    batch.step_b[d] = size_b == 1 ? 0 : step_b;
    batch.step_out[d] = step_out;
    step_a *= size_a;
    step_b *= size_b;
    step_out *= out.size[d];
  }
}

invocation make_call(const plan_view& plan, const plan::operation& op) {
  using maker_of_kind = invocation (*)(const site&);
  constexpr maker_of_kind kMakers[] = {
#define PLAN_OPERATION(name, most, fewest, outputs, fields) call_##name,
#include "plan.def"
#undef PLAN_OPERATION
  };
  return kMakers[op.kind](site(plan, op));
}

}  // namespace edgekit
