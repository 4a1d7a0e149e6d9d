// One operation of a plan as the call of a kernel or mover: its args, and which of their pointers are what.
//
// Making a call also checks that the operands fit the kind, so that no check can be forgotten beside it: everything
// that a kernel relies on is demanded in calls_*.cc, as bind.cc demands it of arrays.
#pragma once

#include <cstddef>
#include <cstring>
#include <initializer_list>
#include <string>
#include <type_traits>
#include <vector>

#include "../axes.h"
#include "../part.h"
#include "grid.h"
#include "touched.h"

namespace edgekit {

constexpr std::size_t kArgsBytes = 512;  // no args struct is larger; made() has checked it
constexpr std::ptrdiff_t kNowhere = -1;
constexpr u32 kMostAttribute = 1u << 20;  // strides, paddings and the like: times a size, far inside int64

// A pointer in args to an operand, which only a context can fill in.
struct pointer {
  std::ptrdiff_t at;  // in args
  tensor view;        // it points to the first element of this
  tensor touched;     // what is read or written through it
  bool written;
};

using function = void (*)(const void* args, const part& part);

struct invocation {
  const char* word = nullptr;  // kernels of this operator can run it; null for movers
  function move = nullptr;     // where there is no word
  const char* name = "";       // of the mover
  alignas(16) unsigned char args[kArgsBytes] = {};
  std::size_t args_bytes = 0;
  std::vector<pointer> pointers;
  // Fields of args, or kNowhere.
  std::ptrdiff_t flip = kNowhere, packed = kNowhere, value_flip = kNowhere, failed = kNowhere, rows = kNowhere;
  std::vector<i64> row_offsets;  // what args[rows] points to
  bool channels_last = true;     // every image is
  bool halo = true;              // padding lies in memory, or there is none
  bool shared_flip = false;      // of a mover: one flip is of all its operands; else it turns x into out
  i64 macs = 0;
  i64 bytes = 0;                  // read and written, weights too: how much work it is
  std::size_t scratch_bytes = 0;  // of a mover, for each thread
};

// Demands that the operands fit and makes the call; throws failure.
invocation make_call(const plan_view& plan, const plan::operation& op);

// The operation that a call is made of, with the questions that every kind asks.
class site {
 public:
  site(const plan_view& plan, const plan::operation& op) : plan(plan), op(op) {}

  bool has(u32 input) const { return plan.input(op, input) != plan::kNone; }
  const tensor& in(u32 input) const { return plan.tensors[plan.input(op, input)]; }
  const tensor& out(u32 output = 0) const { return plan.tensors[plan.output(op, output)]; }
  template <class Attributes>
  const Attributes& own() const {
    return attributes_of<Attributes>(plan, op);
  }

  void need(bool condition, const std::string& what) const;  // throws failure with the operation's name in front
  void need_type(const tensor& t, plan::type type) const;
  void need_dense(const tensor& t) const;
  void need_s8(std::initializer_list<const tensor*> operands) const;
  void need_sizes(const tensor& t, std::initializer_list<i64> sizes) const;
  void need_constant(u32 input, plan::type type, std::initializer_list<i64> sizes) const;
  void need_finite(u32 input, i64 skip = 0) const;  // of constant f32
  void need_bounds(int lo, int hi) const;
  void need_normal(double value, const char* what) const;
  void need_ratio(float ratio) const;  // magnitude in [2^-20, 2^20]
  void need_eps(double eps) const;
  void need_reduction(i64 values) const;
  void need_set(i64 values) const;

  const plan_view& plan;
  const plan::operation& op;
};

// Fills args and notes where their pointers stand.
template <class Args>
class maker {
  static_assert(sizeof(Args) <= kArgsBytes && std::is_trivially_copyable_v<Args> && alignof(Args) <= 16);

 public:
  explicit maker(const site& at) : at(at) {}

  // What the plan holds for this operation alone; site::need_constant has looked at it.
  template <class T>
  void parameter(const T*& field, u32 input) {
    const tensor& view = at.in(input);
    field = reinterpret_cast<const T*>(at.plan.data + view.region + view.first);
    result.bytes += static_cast<i64>(range_of(view).end - range_of(view).begin);
  }
  template <class T>
  void read(const T*& field, u32 input) {
    note(&field, at.in(input), touched_input(at.plan, at.op, input), false);
  }
  template <class T>
  void write(T*& field, u32 output = 0) {
    note(&field, at.out(output), touched_output(at.plan, at.op, output), true);
  }
  // A field that the model fills in.
  std::ptrdiff_t offset(const void* field) const {
    return static_cast<const unsigned char*>(field) - reinterpret_cast<const unsigned char*>(&args);
  }
  invocation as_word() {
    result.word = Args::op;
    return made();
  }
  // `run` is the mover's entry; the lambda erases the type of its args.
  template <void (*run)(const Args&, const part&)>
  invocation as_move(const char* name) {
    result.move = [](const void* own, const part& part) { run(*static_cast<const Args*>(own), part); };
    result.name = name;
    return made();
  }

  Args args = {};
  invocation result;

 private:
  void note(void* field, const tensor& view, const tensor& touched, bool written) {
    // Not null, so that a kernel asked whether it takes these sees what is there; in the middle of what can be
    // addressed, so that no step from it wraps.
    const std::uintptr_t placeholder = UINTPTR_MAX / 2 + 1;
    std::memcpy(field, &placeholder, sizeof placeholder);
    result.pointers.push_back({offset(field), view, touched, written});
    result.bytes += static_cast<i64>(range_of(touched).end - range_of(touched).begin);
  }
  invocation made() {
    std::memcpy(result.args, &args, sizeof args);
    result.args_bytes = sizeof args;
    return result;
  }

  const site& at;
};

// The dimensions of a tensor, in the unit of `bytes` for each element, as one array of a grid.
void set_steps(grid& along, int array, const tensor& t, i64 bytes);

// The leading dimensions of the matrices a, b and out, which broadcast; steps count matrices.
void set_batch(const site& at, broadcast& batch);

// The first inputs of an operation and, as the last array, its out as one walk in elements of each; sizes align from
// the right, and dimensions of size 1 are repeated.
template <int kInputs>
grid_of<kInputs + 1> walk_of(const site& at) {
  const tensor& out = at.out();
  grid_of<kInputs + 1> along = {};
  along.dims = static_cast<int>(out.dims);
  for (u32 d = 0; d < out.dims; ++d) {
    along.size[d] = out.size[d];
    along.step[kInputs][d] = out.step[d];
  }
  for (int i = 0; i < kInputs; ++i) {
    const tensor& t = at.in(static_cast<u32>(i));
    at.need(t.dims <= out.dims, "an operand has more dimensions than out");
    const u32 lacks = out.dims - t.dims;
    for (u32 d = 0; d < t.dims; ++d) {
      at.need(t.size[d] == out.size[d + lacks] || t.size[d] == 1, "its operands do not broadcast to out");
      along.step[i][d + lacks] = t.size[d] == 1 ? 0 : t.step[d];
    }
  }
  return merged(along, kInputs);
}

// Splits the dimensions of x, in order, into those that stay in out, which is dense, and those whose bit is set.
void split_axes(const site& at, u32 chosen, axes& kept, axes& reduced);

// Makers, one for each kind; in calls_*.cc.
#define PLAN_OPERATION(name, most, fewest, outputs, fields) invocation call_##name(const site& at);
#include "plan.def"
#undef PLAN_OPERATION

}  // namespace edgekit
