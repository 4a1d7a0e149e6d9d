// edgekit._C.Engine: a plan and its context over numpy arrays, through the C API and nothing else.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/functions.h"
#include "engine/kinds.h"
#include "include/edgekit.h"

using namespace pybind11::literals;

namespace edgekit {

namespace py = pybind11;

namespace {

// Raised as edgekit._C.EngineError(status, message).
struct engine_error : std::exception {
  explicit engine_error(const ek_error& error) : error(error) {}
  const char* what() const noexcept override { return error.message; }
  ek_error error;
};

void check(const ek_error& error) {
  if (error.status != EK_OK) throw engine_error(error);
}

[[noreturn]] void refuse(const std::string& message) {
  ek_error error = {EK_BAD_ARGUMENT, {}};
  std::strncpy(error.message, message.c_str(), sizeof error.message - 1);
  throw engine_error(error);
}

// Names come from a file: whatever is not UTF-8 in them is replaced.
py::object text(const char* bytes) {
  return py::reinterpret_steal<py::object>(
      PyUnicode_DecodeUTF8(bytes, static_cast<py::ssize_t>(std::strlen(bytes)), "replace"));
}

py::dtype dtype_of(ek_type type) {
  constexpr const char* kNames[] = {"int8", "uint8", "int16", "int32", "int64", "float32", "bool"};
  return py::dtype(kNames[type]);
}

struct close_model {
  void operator()(ek_model* model) const { ek_model_close(model); }
};
struct destroy_context {
  void operator()(ek_context* context) const { ek_context_destroy(context); }
};
struct release_memory {
  void operator()(void* memory) const { std::free(memory); }
};

// An input or output and what its arrays have to be: asked for once, because a call of a small net takes microseconds.
struct Port {
  explicit Port(const ek_tensor_info& info)
      : info(info), dtype(dtype_of(info.type)), shape(info.size, info.size + info.dims) {}

  ek_tensor_info info;
  py::dtype dtype;
  std::vector<py::ssize_t> shape;
};

struct Pointers {
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
};

class Engine {
 public:
  Engine(const std::variant<py::bytes, std::string>& source, const std::optional<std::string>& isa, unsigned threads) {
    ek_model_options options = {};
    options.struct_size = sizeof options;
    options.isa = isa ? isa->c_str() : nullptr;
    ek_error error;
    ek_model* model = nullptr;
    if (const auto* path = std::get_if<std::string>(&source)) {
      ek_model_open(path->c_str(), &options, &model, &error);
    } else {
      const std::string_view bytes = std::get<py::bytes>(source);
      constexpr std::size_t kAlignment = plan::kAlignment;
      copy_.reset(std::aligned_alloc(kAlignment, (bytes.size() / kAlignment + 1) * kAlignment));
      if (!copy_) throw std::bad_alloc();
      std::memcpy(copy_.get(), bytes.data(), bytes.size());
      ek_model_open_memory(copy_.get(), bytes.size(), &options, &model, &error);
    }
    check(error);
    model_.reset(model);
    inputs_ = ports_of(ek_model_input_count(model), ek_model_input);
    outputs_ = ports_of(ek_model_output_count(model), ek_model_output);
    make_context(threads);
  }

  py::list ports(bool input) const {
    py::list result;
    for (const Port& port : input ? inputs_ : outputs_)
      result.append(py::dict("name"_a = text(port.info.name), "dtype"_a = port.dtype,
                             "shape"_a = py::tuple(py::cast(port.shape)), "scale"_a = port.info.scale));
    return result;
  }

  std::vector<py::array> run(const std::vector<py::array>& inputs) {
    std::vector<py::array> outputs = new_outputs();
    call(checked(inputs, outputs), nullptr);
    return outputs;
  }

  // Pointers to arrays that fit.
  Pointers checked(const std::vector<py::array>& inputs, std::vector<py::array>& outputs) const {
    if (inputs.size() != inputs_.size() || outputs.size() != outputs_.size())
      refuse("The model has " + std::to_string(inputs_.size()) + " inputs and " + std::to_string(outputs_.size()) +
             " outputs.");
    Pointers to = {std::vector<const void*>(inputs.size()), std::vector<void*>(outputs.size())};
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      need(inputs[i], inputs_[i], false);
      to.inputs[i] = inputs[i].data();
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      need(outputs[i], outputs_[i], true);
      to.outputs[i] = outputs[i].mutable_data();
    }
    return to;
  }

  void call(const Pointers& to, double* seconds) {
    ek_error error;
    {
      const py::gil_scoped_release release;
      const std::lock_guard<std::mutex> lock(*running_);  // a context runs one call at a time
      seconds ? ek_run_profiled(context_.get(), to.inputs.data(), to.outputs.data(), seconds, &error)
              : ek_run(context_.get(), to.inputs.data(), to.outputs.data(), &error);
    }
    check(error);
  }

  std::vector<double> profile(const std::vector<py::array>& inputs) {
    std::vector<py::array> outputs = new_outputs();
    std::vector<double> seconds(ek_model_operation_count(model_.get()) + 1);
    call(checked(inputs, outputs), seconds.data());
    seconds.pop_back();
    return seconds;
  }

  py::list operations() const {
    py::list result;
    for (std::uint32_t i = 0; i < ek_model_operation_count(model_.get()); ++i) {
      ek_operation_info info;
      ek_error error;
      ek_model_operation(model_.get(), i, &info, &error);
      check(error);
      result.append(py::dict("name"_a = text(info.name), "kind"_a = text(info.kind), "kernel"_a = text(info.kernel),
                             "reason"_a = text(info.reason), "source"_a = text(info.source), "macs"_a = info.macs));
    }
    return result;
  }

  std::size_t arena_bytes() const { return ek_model_arena_bytes(model_.get()); }
  std::size_t state_bytes() const { return ek_model_state_bytes(model_.get()); }
  std::size_t weight_bytes() const { return ek_model_weight_bytes(model_.get()); }
  std::string isa() const { return ek_model_isa(model_.get()); }
  unsigned threads() const { return threads_; }

  void state_reset() {
    const std::lock_guard<std::mutex> lock(*running_);
    ek_state_reset(context_.get());
  }
  py::bytes state_save() {
    const std::lock_guard<std::mutex> lock(*running_);
    std::string state(state_bytes(), '\0');
    ek_error error;
    ek_state_save(context_.get(), state.data(), state.size(), &error);
    check(error);
    return state;
  }
  void state_load(const py::bytes& state) {
    const std::string_view bytes = state;
    const std::lock_guard<std::mutex> lock(*running_);
    ek_error error;
    ek_state_load(context_.get(), bytes.data(), bytes.size(), &error);
    check(error);
  }

 private:
  void make_context(unsigned threads) {
    ek_context_options options = {};
    options.struct_size = sizeof options;
    options.threads = threads_ = threads < 1 ? 1 : threads;
    ek_context* context = nullptr;
    ek_error error;
    ek_context_create(model_.get(), &options, &context, &error);
    check(error);
    context_.reset(context);
  }

  template <class Describe>
  std::vector<Port> ports_of(std::uint32_t count, Describe describe) const {
    std::vector<Port> result;
    for (std::uint32_t i = 0; i < count; ++i) {
      ek_tensor_info info;
      ek_error error;
      describe(model_.get(), i, &info, &error);
      check(error);
      result.emplace_back(info);
    }
    return result;
  }

  std::vector<py::array> new_outputs() const {
    std::vector<py::array> result;
    for (const Port& port : outputs_) result.emplace_back(port.dtype, port.shape);
    return result;
  }

  static void need(const py::array& array, const Port& port, bool written) {
    constexpr int kDense = py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    const auto wrong = [&](const char* what) {
      refuse(std::string(written ? "Output '" : "Input '") + port.info.name + "' " + what);
    };
    if (!array.dtype().is(port.dtype) && !array.dtype().equal(port.dtype)) wrong("has the wrong dtype.");
    if (!std::equal(port.shape.begin(), port.shape.end(), array.shape(), array.shape() + array.ndim()))
      wrong("has the wrong shape.");
    if ((array.flags() & kDense) != kDense) wrong("is not contiguous.");
    if (written && !array.writeable()) wrong("is read-only.");
  }

  std::unique_ptr<void, release_memory> copy_;
  std::unique_ptr<ek_model, close_model> model_;
  std::unique_ptr<ek_context, destroy_context> context_;
  std::vector<Port> inputs_, outputs_;
  std::unique_ptr<std::mutex> running_ = std::make_unique<std::mutex>();
  unsigned threads_ = 1;
};

// Arrays that are checked once and run again and again.
class Binding {
 public:
  Binding(Engine& engine, std::vector<py::array> inputs, std::vector<py::array> outputs)
      : engine_(engine),
        inputs_(std::move(inputs)),
        outputs_(std::move(outputs)),
        to_(engine.checked(inputs_, outputs_)) {}

  void run() { engine_.call(to_, nullptr); }

 private:
  Engine& engine_;
  std::vector<py::array> inputs_, outputs_;
  Pointers to_;
};

// plan.h and plan.def, for a test that holds what writes plans against what reads them.
py::dict plan_layout() {
  py::list kinds;
#define F(type, name) fields.append(py::make_tuple(#type, #name));
#define PLAN_OPERATION(name, most, fewest, outputs, all)                                                     \
  {                                                                                                          \
    py::list fields;                                                                                         \
    all kinds.append(py::dict("name"_a = #name, "most"_a = most, "fewest"_a = fewest, "outputs"_a = outputs, \
                              "fields"_a = fields, "bytes"_a = sizeof(plan::attributes::name)));             \
  }
#include "engine/plan.def"
#undef PLAN_OPERATION
#undef F
#define NAME(name) names.append(#name);
  const auto named = [](auto fill) {
    py::list names;
    fill(names);
    return names;
  };
  const py::dict functions("binary"_a = named([](py::list& names) { EDGEKIT_BINARY(NAME) }),
                           "compare"_a = named([](py::list& names) { EDGEKIT_COMPARISON(NAME) }),
                           "unary_f32"_a = named([](py::list& names) { EDGEKIT_UNARY(NAME) }),
                           "reduce"_a = named([](py::list& names) { EDGEKIT_REDUCTION(NAME) }));
#undef NAME
  return py::dict("kinds"_a = kinds, "functions"_a = functions, "header"_a = sizeof(plan::header),
                  "tensor"_a = sizeof(plan::tensor), "operation"_a = sizeof(plan::operation), "major"_a = plan::kMajor,
                  "minor"_a = plan::kMinor, "alignment"_a = plan::kAlignment, "slack"_a = plan::kSlack,
                  "dims"_a = plan::kMaxDims);
}

}  // namespace

void bind_engine(py::module_& m) {
  static py::object error_type;  // lives as long as the interpreter
  error_type =
      py::reinterpret_borrow<py::object>(PyErr_NewException("edgekit._C.EngineError", PyExc_ValueError, nullptr));
  m.add_object("EngineError", error_type);
  py::register_exception_translator([](std::exception_ptr pending) {
    try {
      if (pending) std::rethrow_exception(pending);
    } catch (const engine_error& why) {
      const py::tuple arguments = py::make_tuple(static_cast<int>(why.error.status), text(why.error.message));
      PyErr_SetObject(error_type.ptr(), arguments.ptr());
    }
  });
  const auto inputs = "inputs"_a;
  py::class_<Binding>(m, "Binding", "Arrays bound to an engine, to be neither resized nor made read-only.")
      .def("__call__", &Binding::run);
  py::class_<Engine>(m, "Engine", "A native model (.ekm), from its path or its bytes, and one context to run it in.")
      .def(py::init<const std::variant<py::bytes, std::string>&, const std::optional<std::string>&, unsigned>(),
           "source"_a, "isa"_a = py::none(), "threads"_a = 1)
      .def("inputs", [](const Engine& engine) { return engine.ports(true); })
      .def("outputs", [](const Engine& engine) { return engine.ports(false); })
      .def("run", &Engine::run, inputs)
      .def(
          "bind",
          [](Engine& engine, const std::vector<py::array>& from, const std::vector<py::array>& to) {
            return Binding(engine, from, to);
          },
          inputs, "outputs"_a, py::keep_alive<0, 1>(), "What to call to read these arrays and write those.")
      .def("profile", &Engine::profile, inputs, "Seconds of each operation in one run.")
      .def("operations", &Engine::operations)
      .def("state_reset", &Engine::state_reset)
      .def("state_save", &Engine::state_save)
      .def("state_load", &Engine::state_load, "state"_a)
      .def_property_readonly("arena_bytes", &Engine::arena_bytes)
      .def_property_readonly("state_bytes", &Engine::state_bytes)
      .def_property_readonly("weight_bytes", &Engine::weight_bytes)
      .def_property_readonly("isa", &Engine::isa)
      .def_property_readonly("threads", &Engine::threads);
  m.def("plan_layout", &plan_layout);
}

}  // namespace edgekit
