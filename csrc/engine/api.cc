// The border of the C API: no exception leaves it, and every failure says what, why and what to do.
#include "../include/edgekit.h"

#include <cstring>
#include <memory>
#include <new>
#include <system_error>

#include "context.h"
#include "failure.h"
#include "model.h"

struct ek_model {
  edgekit::model own;
};

struct ek_context {
  ek_context(const edgekit::model& shared, const ek_context_options& options)
      : own(shared, options.threads, options.parallel, options.parallel_user) {}
  edgekit::context own;
};

namespace {

using edgekit::failure;

constexpr unsigned kMostThreads = 1024;  // more is a mistake

ek_status report(ek_error* error, ek_status status, const char* message) {
  if (error) {
    error->status = status;
    std::strncpy(error->message, message, sizeof error->message - 1);
    error->message[sizeof error->message - 1] = 0;
  }
  return status;
}

template <class Work>
ek_status guarded(ek_error* error, Work work) noexcept {
  try {
    work();
    return report(error, EK_OK, "");
  } catch (const failure& why) {
    return report(error, why.status, why.what());
  } catch (const std::bad_alloc&) {
    return report(error, EK_NO_MEMORY, "There is not enough memory.");
  } catch (const std::system_error& why) {
    return report(error, EK_NO_MEMORY, why.what());
  } catch (const std::exception& why) {
    return report(error, EK_UNSUPPORTED, why.what());
  }
}

void expect(bool condition, const char* message) {
  if (!condition) throw failure(EK_BAD_ARGUMENT, message);
}

// The fields that the caller's header knows; those added since are 0.
template <class Options>
Options complete(const Options* given) {
  Options options = {};
  options.struct_size = sizeof options;
  if (!given) return options;
  const std::size_t known = given->struct_size;
  expect(known >= sizeof(std::size_t), "Set struct_size of the options to sizeof the struct.");
  std::memcpy(&options, given, known < sizeof options ? known : sizeof options);
  return options;
}

template <class Load>
ek_status open_model(const ek_model_options* options, ek_model** model, ek_error* error, Load load) {
  return guarded(error, [&] {
    expect(model, "model is null: give the address of an ek_model*.");
    *model = nullptr;
    const ek_model_options all = complete(options);
    expect(!all.allocator.allocate == !all.allocator.release, "Give both functions of the allocator, or neither.");
    auto own = std::make_unique<ek_model>();
    load(own->own, all);
    *model = own.release();
  });
}

ek_status describe(const ek_model* model, bool input, uint32_t index, ek_tensor_info* info, ek_error* error) {
  return guarded(error, [&] {
    expect(model && info, "model or info is null.");
    const edgekit::plan_view& plan = model->own.plan;
    expect(index < (input ? plan.head->inputs : plan.head->outputs), "The model has no input or output of this index.");
    const edgekit::tensor& t = plan.tensors[(input ? 0 : plan.head->inputs) + index];
    *info = {
        plan.text(t.name), static_cast<ek_type>(t.element), t.dims, {}, static_cast<size_t>(t.region_bytes), t.scale};
    for (int d = 0; d < EK_MAX_DIMS; ++d) info->size[d] = t.size[d];
  });
}

// A message where a port's buffer cannot be used. No allocation: this is on the way of every run.
const char* wrong_port(const edgekit::tensor& port, const void* buffer) {
  if (port.region_bytes == 0) return nullptr;
  if (!buffer) return "The buffer of an input or output is null.";
  return reinterpret_cast<std::uintptr_t>(buffer) % edgekit::bytes_of(port.element)
             ? "The buffer of an input or output is not aligned to its element."
             : nullptr;
}

const char* wrong_ports(const edgekit::plan_view& plan, const void* const* inputs, void* const* outputs) {
  const edgekit::plan::header& head = *plan.head;
  if ((head.inputs && !inputs) || (head.outputs && !outputs)) return "inputs or outputs is null.";
  for (uint32_t i = 0; i < head.inputs; ++i)
    if (const char* wrong = wrong_port(plan.tensors[i], inputs[i])) return wrong;
  for (uint32_t i = 0; i < head.outputs; ++i)
    if (const char* wrong = wrong_port(plan.tensors[head.inputs + i], outputs[i])) return wrong;
  return nullptr;
}

ek_status run(ek_context* context, const void* const* inputs, void* const* outputs, double* seconds, ek_error* error) {
  if (!context) return report(error, EK_BAD_ARGUMENT, "context is null.");
  if (const char* wrong = wrong_ports(context->own.shared().plan, inputs, outputs))
    return report(error, EK_BAD_ARGUMENT, wrong);
  if (context->own.run(inputs, outputs, seconds)) return report(error, EK_OK, "");
  return report(error, EK_BAD_INPUT,
                "An index among the inputs is outside its table, so the outputs mean nothing. Check the inputs.");
}

}  // namespace

extern "C" {

unsigned ek_abi_version(void) {
  return EK_ABI_VERSION;
}

const char* ek_version(void) {
  return "0.1.0";
}

const char* ek_status_name(ek_status status) {
  constexpr const char* kNames[] = {"ok", "bad argument", "bad file", "unsupported", "no memory", "io", "bad input"};
  return status >= EK_OK && status <= EK_BAD_INPUT ? kNames[status] : "unknown";
}

ek_status ek_model_open(const char* path, const ek_model_options* options, ek_model** model, ek_error* error) {
  return open_model(options, model, error, [&](edgekit::model& own, const ek_model_options& all) {
    expect(path, "path is null.");
    own.file = std::make_unique<edgekit::mapping>(path);
    edgekit::load(own, own.file->data(), own.file->size(), all);
  });
}

ek_status ek_model_open_memory(const void* data, size_t bytes, const ek_model_options* options, ek_model** model,
                               ek_error* error) {
  return open_model(options, model, error, [&](edgekit::model& own, const ek_model_options& all) {
    expect(data, "data is null.");
    edgekit::load(own, data, bytes, all);
  });
}

void ek_model_close(ek_model* model) {
  delete model;
}

uint32_t ek_model_input_count(const ek_model* model) {
  return model ? model->own.plan.head->inputs : 0;
}

uint32_t ek_model_output_count(const ek_model* model) {
  return model ? model->own.plan.head->outputs : 0;
}

ek_status ek_model_input(const ek_model* model, uint32_t index, ek_tensor_info* info, ek_error* error) {
  return describe(model, true, index, info, error);
}

ek_status ek_model_output(const ek_model* model, uint32_t index, ek_tensor_info* info, ek_error* error) {
  return describe(model, false, index, info, error);
}

size_t ek_model_arena_bytes(const ek_model* model) {
  return model ? static_cast<size_t>(model->own.plan.head->arena_bytes) : 0;
}

size_t ek_model_state_bytes(const ek_model* model) {
  return model ? static_cast<size_t>(model->own.plan.head->state_bytes) : 0;
}

size_t ek_model_weight_bytes(const ek_model* model) {
  return model ? model->own.weights.size() : 0;
}

const char* ek_model_isa(const ek_model* model) {
  return model ? edgekit::name(model->own.isa) : "";
}

uint32_t ek_model_operation_count(const ek_model* model) {
  return model ? model->own.plan.operation_count() : 0;
}

ek_status ek_model_operation(const ek_model* model, uint32_t index, ek_operation_info* info, ek_error* error) {
  return guarded(error, [&] {
    expect(model && info, "model or info is null.");
    const edgekit::plan_view& plan = model->own.plan;
    expect(index < plan.operation_count(), "The model has no operation of this index.");
    const edgekit::plan::operation& op = plan.operations[index];
    const edgekit::operation_note& note = model->own.notes[index];
    *info = {plan.text(op.name),   edgekit::plan::kKinds[op.kind].name,
             note.kernel.c_str(),  note.reason.c_str(),
             plan.text(op.source), note.macs};
  });
}

ek_status ek_context_create(const ek_model* model, const ek_context_options* options, ek_context** context,
                            ek_error* error) {
  return guarded(error, [&] {
    expect(model && context, "model or context is null.");
    *context = nullptr;
    const ek_context_options all = complete(options);
    expect(all.threads <= kMostThreads, "threads is over 1024.");
    *context = new ek_context(model->own, all);
  });
}

void ek_context_destroy(ek_context* context) {
  delete context;
}

ek_status ek_run(ek_context* context, const void* const* inputs, void* const* outputs, ek_error* error) {
  return run(context, inputs, outputs, nullptr, error);
}

ek_status ek_run_profiled(ek_context* context, const void* const* inputs, void* const* outputs, double* seconds,
                          ek_error* error) {
  if (!seconds) return report(error, EK_BAD_ARGUMENT, "seconds is null.");
  return run(context, inputs, outputs, seconds, error);
}

void ek_state_reset(ek_context* context) {
  if (context) std::memset(context->own.state(), 0, context->own.shared().plan.head->state_bytes);
}

ek_status ek_state_save(const ek_context* context, void* buffer, size_t bytes, ek_error* error) {
  return guarded(error, [&] {
    expect(context && (buffer || bytes == 0), "context or buffer is null.");
    expect(bytes == context->own.shared().plan.head->state_bytes, "bytes is not ek_model_state_bytes.");
    if (bytes) std::memcpy(buffer, context->own.state(), bytes);
  });
}

ek_status ek_state_load(ek_context* context, const void* buffer, size_t bytes, ek_error* error) {
  return guarded(error, [&] {
    expect(context && (buffer || bytes == 0), "context or buffer is null.");
    expect(bytes == context->own.shared().plan.head->state_bytes, "bytes is not ek_model_state_bytes.");
    if (bytes) std::memcpy(context->own.state(), buffer, bytes);
  });
}

}  // extern "C"
