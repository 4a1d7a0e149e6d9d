// A model, a context and buffers for its ports, by the C API alone.
#pragma once

#include <vector>

#include "../include/edgekit.h"
#include "expect.h"
#include "plan_writer.h"

namespace edgekit::test {

struct Model {
  explicit Model(const Bytes& plan, const char* isa = nullptr) : plan(plan) {
    ek_model_options options = {};
    options.struct_size = sizeof options;
    options.isa = isa;
    open(options);
  }
  Model(const Bytes& plan, const ek_model_options& options) : plan(plan) { open(options); }
  ~Model() { ek_model_close(handle); }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const Bytes plan;  // the library reads it where it lies
  ek_model* handle = nullptr;
  ek_error error = {};

 private:
  void open(const ek_model_options& options) {
    ek_model_open_memory(plan.data(), plan.size(), &options, &handle, &error);
    expect(handle, std::string("a model opens: ") + error.message);
  }
};

struct Context {
  explicit Context(const Model& model, unsigned threads = 1, ek_parallel parallel = nullptr, void* user = nullptr) {
    ek_context_options options = {sizeof options, threads, parallel, user};
    ek_context_create(model.handle, &options, &handle, &error);
    expect(handle, std::string("a context is made: ") + error.message);
  }
  ~Context() { ek_context_destroy(handle); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  ek_context* handle = nullptr;
  ek_error error = {};
};

// Buffers of all ports; inputs hold a pattern that the index `which` chooses.
struct Ports {
  explicit Ports(const Model& model, unsigned which = 0) {
    for (u32 i = 0; i < ek_model_input_count(model.handle); ++i) fill(add(model, i, true), which);
    for (u32 i = 0; i < ek_model_output_count(model.handle); ++i) add(model, i, false);
    for (Bytes& one : memory) (inputs.size() < ek_model_input_count(model.handle) ? in(one) : out(one));
  }
  // All bytes of all outputs.
  std::vector<unsigned char> result() const {
    std::vector<unsigned char> all;
    for (std::size_t i = inputs.size(); i < memory.size(); ++i)
      all.insert(all.end(), memory[i].data(), memory[i].data() + memory[i].size());
    return all;
  }

  std::vector<Bytes> memory;
  std::vector<ek_tensor_info> about;
  std::vector<const void*> inputs;
  std::vector<void*> outputs;

 private:
  void in(Bytes& one) { inputs.push_back(one.data()); }
  void out(Bytes& one) { outputs.push_back(one.data()); }
  std::size_t add(const Model& model, u32 index, bool input) {
    ek_tensor_info info;
    (input ? ek_model_input : ek_model_output)(model.handle, index, &info, nullptr);
    about.push_back(info);
    memory.emplace_back(info.bytes);
    return memory.size() - 1;
  }
  void fill(std::size_t at, unsigned which) {
    unsigned char* to = memory[at].data();
    const ek_type type = about[at].type;
    const std::size_t unit = bytes_of(static_cast<plan::type>(type));
    for (std::size_t i = 0; i < about[at].bytes / unit; ++i) {
      const unsigned value = static_cast<unsigned>(i * 37 + 11 + which * 71) % 256;
      const float real = (static_cast<float>(value) - 128.0f) / 64.0f;
      const std::int64_t index = value % 2;
      if (type == EK_F32) {
        std::memcpy(to + i * unit, &real, unit);
      } else if (unit == 1 && type != EK_BOOL) {
        to[i] = static_cast<unsigned char>(value);
      } else {
        std::memcpy(to + i * unit, &index, unit);
      }
    }
  }
};

// The bytes of all outputs after `runs` runs of a new context.
inline std::vector<unsigned char> outputs_of(const Model& model, unsigned which = 0, unsigned threads = 1,
                                             int runs = 1) {
  const Context context(model, threads);
  Ports ports(model, which);
  ek_error error;
  for (int i = 0; i < runs; ++i)
    expect(ek_run(context.handle, ports.inputs.data(), ports.outputs.data(), &error) == EK_OK, error.message);
  return ports.result();
}

}  // namespace edgekit::test
