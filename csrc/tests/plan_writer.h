// Plans by hand, the twin of tests/plans.py: what the native tests run, and what the fuzzer starts from.
#pragma once

#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include "../engine/kinds.h"
#include "../engine/view.h"

namespace edgekit::test {

// Bytes that begin on a multiple of 64, as a plan in memory has to.
class Bytes {
 public:
  explicit Bytes(std::size_t count = 0) : lines_(count / 64 + 1), count_(count) {}
  unsigned char* data() { return lines_.data()->bytes; }
  const unsigned char* data() const { return lines_.data()->bytes; }
  std::size_t size() const { return count_; }
  plan::header& header() { return *reinterpret_cast<plan::header*>(data()); }

 private:
  struct alignas(64) Line {
    unsigned char bytes[64] = {};
  };
  std::vector<Line> lines_;
  std::size_t count_;
};

template <class Attributes>
struct kind_of;
#define PLAN_OPERATION(name, most, fewest, outputs, fields) \
  template <>                                               \
  struct kind_of<plan::attributes::name> {                  \
    static constexpr plan::kind value = plan::kind::name;   \
  };
#include "../engine/plan.def"
#undef PLAN_OPERATION

// The sections of a plan apart, and the file that they make; spans and sizes of the header are filled in there.
struct Sections {
  plan::header head = {};
  std::vector<plan::tensor> tensors;
  std::vector<plan::operation> operations;
  std::vector<u32> operands;
  std::vector<unsigned char> attributes;
  std::string strings;
  std::vector<unsigned char> data;  // with its slack

  Bytes bytes() const;
};

class PlanWriter {
 public:
  using View = u32;  // index into tensors_
  using Sizes = std::vector<i64>;

  View input(const Sizes& size, plan::type type = plan::type::s8, float scale = 0);
  View output(const Sizes& size, plan::type type = plan::type::s8, float scale = 0);
  // A dense tensor in a region of its own.
  View region(const Sizes& size, plan::type type = plan::type::s8, float scale = 0,
              plan::storage kind = plan::storage::arena);
  // An image [N, H, W, C] with room for `frame` pixels on each side.
  View framed(const Sizes& size, i64 frame, float scale = 0);
  // Another look at the region of `whole`; steps in elements, `first` elements behind it.
  View view(View whole, const Sizes& size, const Sizes& step, i64 first = 0);
  View constant(plan::type type, const Sizes& size, const void* values, float scale = 0);
  template <class T>
  View constant(plan::type type, const Sizes& size, const std::vector<T>& values) {
    return constant(type, size, values.data());
  }

  template <class Attributes>
  void add(const Attributes& own, std::initializer_list<View> inputs, std::initializer_list<View> outputs,
           u32 flags = 0) {
    add(kind_of<Attributes>::value, &own, sizeof own, inputs, outputs, flags);
  }
  Bytes bytes() const;

 private:
  View put(const plan::tensor& t, std::vector<View>& some);
  View push(plan::storage kind, plan::type type, const Sizes& size, float scale);
  void add(plan::kind kind, const void* own, std::size_t own_bytes, std::initializer_list<View> inputs,
           std::initializer_list<View> outputs, u32 flags);
  u32 text(const std::string& words);

  std::vector<plan::tensor> tensors_;
  std::vector<plan::operation> operations_;
  std::vector<u32> operands_;
  std::vector<unsigned char> attributes_, data_;
  std::string strings_ = std::string(1, '\0');   // the empty string
  std::vector<View> inputs_, outputs_, others_;  // views of a port are among the others
  u64 arena_ = 0, state_ = 0;
};

}  // namespace edgekit::test
