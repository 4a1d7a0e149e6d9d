// edgekit.hpp: edgekit.h for C++17: objects that close themselves, exceptions, spans. Headers only.
//
//   ek::model model("net.ekm");
//   ek::context context(model, 2);
//   context.set_input<float>(0, pixels);      // buffers of your own: they are used by every run until set anew
//   context.set_output<float>(0, logits);
//   context.run();                            // allocates nothing
//
// A failure throws ek::error, which says what, why and what to do. ek::model may be copied: copies share what was
// loaded, as contexts do. A context runs one call at a time.
#ifndef EDGEKIT_HPP
#define EDGEKIT_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "edgekit.h"

namespace ek {

class error : public std::runtime_error {
 public:
  explicit error(const ek_error& why) : std::runtime_error(why.message), status_(why.status) {}
  error(ek_status status, const std::string& message) : std::runtime_error(message), status_(status) {}
  ek_status status() const noexcept { return status_; }

 private:
  ek_status status_;
};

// Values side by side that belong to somebody else: made from anything that has data() and size(), and from arrays.
template <class T>
class span {
 public:
  constexpr span() = default;
  constexpr span(T* data, std::size_t size) : data_(data), size_(size) {}
  template <std::size_t N>
  constexpr span(T (&array)[N]) : data_(array), size_(N) {}
  template <class Container, class = std::enable_if_t<std::is_convertible_v<
                                 std::remove_pointer_t<decltype(std::declval<Container&>().data())> (*)[], T (*)[]>>>
  constexpr span(Container&& container) : data_(container.data()), size_(container.size()) {}

  constexpr T* data() const { return data_; }
  constexpr std::size_t size() const { return size_; }
  constexpr T* begin() const { return data_; }
  constexpr T* end() const { return data_ + size_; }
  constexpr T& operator[](std::size_t i) const { return data_[i]; }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

template <class T>
struct type_of;  // std::int8_t to float, and bool
template <>
struct type_of<std::int8_t> : std::integral_constant<ek_type, EK_S8> {};
template <>
struct type_of<std::uint8_t> : std::integral_constant<ek_type, EK_U8> {};
template <>
struct type_of<std::int16_t> : std::integral_constant<ek_type, EK_S16> {};
template <>
struct type_of<std::int32_t> : std::integral_constant<ek_type, EK_S32> {};
template <>
struct type_of<std::int64_t> : std::integral_constant<ek_type, EK_S64> {};
template <>
struct type_of<float> : std::integral_constant<ek_type, EK_F32> {};
template <>
struct type_of<bool> : std::integral_constant<ek_type, EK_BOOL> {};

struct tensor : ek_tensor_info {
  span<const std::int64_t> shape() const { return {size, dims}; }
  std::size_t elements() const {
    std::size_t count = 1;
    for (const std::int64_t one : shape()) count *= static_cast<std::size_t>(one);
    return count;
  }
};

namespace detail {

inline void check(ek_status status, const ek_error& why) {
  if (status != EK_OK) throw error(why);
}

}  // namespace detail

class model {
 public:
  // `isa`: null for the best of this machine.
  explicit model(const char* path, const char* isa = nullptr) {
    const ek_model_options options = options_of(isa);
    open([&](ek_model** made, ek_error* why) { return ek_model_open(path, &options, made, why); });
  }
  explicit model(const std::string& path, const char* isa = nullptr) : model(path.c_str(), isa) {}
  model(const char* path, const ek_model_options& options) {
    open([&](ek_model** made, ek_error* why) { return ek_model_open(path, &options, made, why); });
  }
  // The memory begins on a multiple of 64, and stays as it is as long as a copy of the model, or a context, lives.
  explicit model(span<const unsigned char> memory, const char* isa = nullptr) : model(memory, options_of(isa)) {}
  model(span<const unsigned char> memory, const ek_model_options& options) {
    open([&](ek_model** made, ek_error* why) {
      return ek_model_open_memory(memory.data(), memory.size(), &options, made, why);
    });
  }

  const std::vector<tensor>& inputs() const noexcept { return own_->inputs; }
  const std::vector<tensor>& outputs() const noexcept { return own_->outputs; }
  std::size_t arena_bytes() const noexcept { return ek_model_arena_bytes(get()); }
  std::size_t state_bytes() const noexcept { return ek_model_state_bytes(get()); }
  std::size_t weight_bytes() const noexcept { return ek_model_weight_bytes(get()); }
  const char* isa() const noexcept { return ek_model_isa(get()); }
  std::vector<ek_operation_info> operations() const {
    std::vector<ek_operation_info> all(ek_model_operation_count(get()));
    ek_error why;
    for (std::size_t i = 0; i < all.size(); ++i)
      detail::check(ek_model_operation(get(), static_cast<std::uint32_t>(i), &all[i], &why), why);
    return all;
  }
  const ek_model* get() const noexcept { return own_->handle; }

 private:
  struct shared {
    ~shared() { ek_model_close(handle); }
    ek_model* handle = nullptr;
    std::vector<tensor> inputs, outputs;
  };

  static ek_model_options options_of(const char* isa) {
    ek_model_options options = {};
    options.struct_size = sizeof options;
    options.isa = isa;
    return options;
  }
  template <class Open>
  void open(Open open) {
    ek_error why;
    own_ = std::make_shared<shared>();
    detail::check(open(&own_->handle, &why), why);
    own_->inputs.resize(ek_model_input_count(get()));
    own_->outputs.resize(ek_model_output_count(get()));
    for (std::size_t i = 0; i < own_->inputs.size(); ++i)
      detail::check(ek_model_input(get(), static_cast<std::uint32_t>(i), &own_->inputs[i], &why), why);
    for (std::size_t i = 0; i < own_->outputs.size(); ++i)
      detail::check(ek_model_output(get(), static_cast<std::uint32_t>(i), &own_->outputs[i], &why), why);
  }

  std::shared_ptr<shared> own_;
};

class context {
 public:
  explicit context(const model& of, unsigned threads = 1) : context(of, own_threads(threads)) {}
  context(const model& of, const ek_context_options& options)
      : model_(of), inputs_(of.inputs().size()), outputs_(of.outputs().size()) {
    ek_error why;
    ek_context* made = nullptr;
    detail::check(ek_context_create(of.get(), &options, &made, &why), why);
    own_.reset(made);
  }

  // The buffer of a port: of its type and number of values, the caller's, used until another is set.
  template <class T>
  void set_input(std::size_t index, span<const T> values) {
    inputs_[fitting<T>(model_.inputs(), index, values.size(), "Input ")] = values.data();
  }
  template <class T>
  void set_output(std::size_t index, span<T> values) {
    outputs_[fitting<T>(model_.outputs(), index, values.size(), "Output ")] = values.data();
  }

  void run() { run(inputs_.data(), outputs_.data()); }
  // With buffers for this run alone, one for each port.
  void run(const void* const* inputs, void* const* outputs) {
    ek_error why;
    detail::check(ek_run(own_.get(), inputs, outputs, &why), why);
  }
  // The seconds of each operation, one for each.
  void run_profiled(span<double> seconds) {
    if (seconds.size() != ek_model_operation_count(model_.get()))
      throw error(EK_BAD_ARGUMENT, "seconds has not one value for each operation.");
    ek_error why;
    detail::check(ek_run_profiled(own_.get(), inputs_.data(), outputs_.data(), seconds.data(), &why), why);
  }

  void reset_state() noexcept { ek_state_reset(own_.get()); }
  void save_state(span<unsigned char> to) const {
    ek_error why;
    detail::check(ek_state_save(own_.get(), to.data(), to.size(), &why), why);
  }
  void load_state(span<const unsigned char> from) {
    ek_error why;
    detail::check(ek_state_load(own_.get(), from.data(), from.size(), &why), why);
  }
  ek_context* get() const noexcept { return own_.get(); }

 private:
  struct destroy {
    void operator()(ek_context* one) const noexcept { ek_context_destroy(one); }
  };

  static ek_context_options own_threads(unsigned threads) {
    ek_context_options options = {};
    options.struct_size = sizeof options;
    options.threads = threads;
    return options;
  }
  template <class T>
  static std::size_t fitting(const std::vector<tensor>& ports, std::size_t index, std::size_t values,
                             const char* what) {
    if (index >= ports.size()) throw error(EK_BAD_ARGUMENT, what + std::to_string(index) + " does not exist.");
    const tensor& port = ports[index];
    if (port.type != type_of<T>::value || values != port.elements())
      throw error(EK_BAD_ARGUMENT, what + std::to_string(index) + " ('" + port.name + "') wants " +
                                       std::to_string(port.elements()) + " values of another type or number than " +
                                       std::to_string(values) + " given.");
    return index;
  }

  model model_;  // before own_: it closes after it
  std::vector<const void*> inputs_;
  std::vector<void*> outputs_;
  std::unique_ptr<ek_context, destroy> own_;
};

}  // namespace ek

#endif  // EDGEKIT_HPP
