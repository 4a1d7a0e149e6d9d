// The C API: versions, options of every age, refusals and what they say, buffers, states.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "nets.h"
#include "runs.h"

namespace edgekit::test {
namespace {

bool says(const ek_error& error, const char* words) {
  return std::strstr(error.message, words) != nullptr;
}

void expect_refused(const Bytes& plan, ek_status status, const char* words) {
  ek_model* model = nullptr;
  ek_error error = {};
  const ek_status got = ek_model_open_memory(plan.data(), plan.size(), nullptr, &model, &error);
  expect(got == status && error.status == status && !model && says(error, words),
         std::string("refused with '") + words + "': " + error.message);
  ek_model_close(model);
}

void versions() {
  expect(ek_abi_version() == EK_ABI_VERSION, "the library is of the header's ABI");
  expect(!std::strcmp(ek_version(), EDGEKIT_VERSION), "the library is of the project's version");
  for (int status = EK_OK; status <= EK_BAD_INPUT; ++status)
    expect(std::strcmp(ek_status_name(static_cast<ek_status>(status)), "unknown") != 0, "a status has a name");
  expect(!std::strcmp(ek_status_name(static_cast<ek_status>(99)), "unknown"), "no other status has one");
}

// A file of tomorrow: another format is refused, new operations are refused by name, a new minor alone is not.
void newer_files() {
  Bytes plan = image_net(8);
  plan.header().minor = plan::kMinor + 7;
  outputs_of(Model(plan));
  plan.header().major = plan::kMajor + 1;
  expect_refused(plan, EK_UNSUPPORTED, "format 2, and this library reads format 1");
  plan = image_net(8);
  auto* first = reinterpret_cast<plan::operation*>(plan.data() + plan.header().operators.offset);
  first->kind = 999;
  expect_refused(plan, EK_UNSUPPORTED, "Use a newer library");
}

void damaged_files() {
  const Bytes whole = image_net(8);
  Bytes plan = whole;
  plan.data()[3] = 'X';
  expect_refused(plan, EK_BAD_FILE, "not a plan");
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{7}, sizeof(plan::header), whole.size() - 1}) {
    Bytes cut(bytes);
    std::memcpy(cut.data(), whole.data(), bytes);
    expect_refused(cut, EK_BAD_FILE, bytes < sizeof(plan::header) ? "not a plan" : "cut off or damaged");
  }
  ek_model* model = nullptr;
  ek_error error;
  expect(ek_model_open("/nonexistent/net.ekm", nullptr, &model, &error) == EK_IO && says(error, "/nonexistent"),
         "a file that is not there is named");
  expect(ek_model_open("/tmp", nullptr, &model, &error) == EK_IO, "a directory is no file");
  Bytes shifted(whole.size() + 64);
  std::memcpy(shifted.data() + 8, whole.data(), whole.size());
  expect(ek_model_open_memory(shifted.data() + 8, whole.size(), nullptr, &model, &error) == EK_BAD_ARGUMENT &&
             says(error, "64"),
         "a plan in memory off its alignment is refused");
}

int logged = 0;

void count_log(void*, const char*) {
  ++logged;
}

void* never(void*, std::size_t, std::size_t) {
  return nullptr;
}

void nothing(void*, void*) {}

// Options of an older header end earlier, those of a newer one later: what is behind the end is not read.
void options_of_every_age() {
  const Bytes plan = image_net(8);
  ek_model_options options = {};
  options.isa = "ref";
  options.allocator = {never, nothing, nullptr};
  options.log = count_log;
  options.struct_size = offsetof(ek_model_options, allocator);
  expect(!std::strcmp(ek_model_isa(Model(plan, options).handle), "ref"), "an isa is taken from old options");
  options.struct_size = offsetof(ek_model_options, isa);
  outputs_of(Model(plan, options));
  expect(logged == 0, "a log behind the end of the options is not called");
  ek_model* model = nullptr;
  ek_error error;
  options.struct_size = sizeof options;
  expect(ek_model_open_memory(plan.data(), plan.size(), &options, &model, &error) != EK_OK || model,
         "options as they are now are read whole");
  expect(logged > 0 || !model, "so that the log is called");
  ek_context* context = nullptr;
  if (model)
    expect(ek_context_create(model, nullptr, &context, &error) == EK_NO_MEMORY && !context,
           "an allocator that has nothing makes no context");
  ek_model_close(model);
  struct {
    ek_model_options known;
    char more[64];
  } newer = {};
  newer.known.struct_size = sizeof newer;
  std::memset(newer.more, 0xee, sizeof newer.more);
  outputs_of(Model(plan, newer.known));
  options = {};
  expect(ek_model_open_memory(plan.data(), plan.size(), &options, &model, &error) == EK_BAD_ARGUMENT &&
             says(error, "struct_size"),
         "options without a size are refused");
  options.struct_size = sizeof options;
  options.isa = "quantum";
  expect(ek_model_open_memory(plan.data(), plan.size(), &options, &model, &error) == EK_BAD_ARGUMENT &&
             says(error, "quantum"),
         "an isa that nobody knows is refused");
  options.isa = nullptr;
  options.allocator.allocate = never;
  expect(ek_model_open_memory(plan.data(), plan.size(), &options, &model, &error) == EK_BAD_ARGUMENT,
         "half an allocator is refused");
  const Model whole(plan);
  ek_context_options one = {offsetof(ek_context_options, parallel), 2, nullptr, nullptr};
  expect(ek_context_create(whole.handle, &one, &context, &error) == EK_OK, "old options of a context are taken");
  ek_context_destroy(context);
  one = {sizeof one, 1u << 20, nullptr, nullptr};
  expect(ek_context_create(whole.handle, &one, &context, &error) == EK_BAD_ARGUMENT, "a million threads are refused");
}

using Lines = std::vector<std::string>;

void keep_line(void* user, const char* message) {
  static_cast<Lines*>(user)->push_back(message);
}

bool has_line(const Lines& lines, const std::string& words) {
  return std::any_of(lines.begin(), lines.end(),
                     [&](const std::string& line) { return line.find(words) != std::string::npos; });
}

// What the log hears of a model: its needs, what is slow in it, a file of tomorrow, threads too many. Nothing of runs.
void logs() {
  Bytes plan = image_net(8);
  plan.header().minor = plan::kMinor + 7;
  Lines lines;
  ek_model_options options = {};
  options.struct_size = sizeof options;
  options.log = keep_line;
  options.log_user = &lines;
  const Model model(plan, options);
  expect(has_line(lines, "1." + std::to_string(plan::kMinor + 7) + ", newer"), "a newer file is told of");
  expect(has_line(lines, "13 operations for " + std::string(ek_model_isa(model.handle))) &&
             has_line(lines, "arena " + std::to_string(ek_model_arena_bytes(model.handle))),
         "what a model needs is told");
  const bool plain = !std::strcmp(ek_model_isa(model.handle), "ref");
  for (u32 i = 0; i < ek_model_operation_count(model.handle); ++i) {
    ek_operation_info info;
    ek_model_operation(model.handle, i, &info, nullptr);
    const bool slow = !plain && std::strstr(info.kernel, "_ref") && info.reason[0];
    expect(has_line(lines, "runs in " + std::string(info.kernel) + "; " + info.reason) == slow,
           "an operation without its faster kernel is told of, and no other");
  }
  lines.clear();
  const Context context(model, 40);
  expect(has_line(lines, "40 threads are asked for; 32 are used"), "threads that are too many are told of");
  lines.clear();
  Ports ports(model);
  expect(ek_run(context.handle, ports.inputs.data(), ports.outputs.data(), nullptr) == EK_OK && lines.empty(),
         "a run says nothing");
}

void descriptions() {
  const Model model(image_net(8));
  ek_tensor_info info;
  ek_error error;
  expect(ek_model_input_count(model.handle) == 1 && ek_model_output_count(model.handle) == 2, "ports are counted");
  expect(ek_model_input(model.handle, 0, &info, &error) == EK_OK && info.type == EK_F32 && info.dims == 4 &&
             info.size[1] == 3 && info.size[3] == 8 && info.bytes == 4 * 3 * 8 * 8 && info.name[0],
         "an input is described");
  expect(ek_model_output(model.handle, 1, &info, &error) == EK_OK && info.type == EK_S8 && info.bytes == 256,
         "an output is described");
  expect(ek_model_output(model.handle, 2, &info, &error) == EK_BAD_ARGUMENT, "there is no third");
  expect(ek_model_arena_bytes(model.handle) > 0 && ek_model_state_bytes(model.handle) == 0, "memory is told");
  ek_operation_info operation;
  const u32 count = ek_model_operation_count(model.handle);
  for (u32 i = 0; i < count; ++i)
    expect(ek_model_operation(model.handle, i, &operation, &error) == EK_OK && operation.name[0] && operation.kind[0] &&
               operation.kernel[0],
           "an operation is described");
  expect(count == 13 && ek_model_operation(model.handle, count, &operation, &error) == EK_BAD_ARGUMENT,
         "operations are counted");
}

void arguments() {
  const Bytes plan = image_net(8);
  const Model model(plan);
  const Context context(model);
  Ports ports(model);
  ek_error error;
  const auto run = [&] { return ek_run(context.handle, ports.inputs.data(), ports.outputs.data(), &error); };
  expect(run() == EK_OK && error.status == EK_OK && !error.message[0], "a run is well");
  expect(ek_run(context.handle, ports.inputs.data(), ports.outputs.data(), nullptr) == EK_OK, "nobody has to listen");
  ports.inputs[0] = ports.memory[0].data() + 2;
  expect(run() == EK_BAD_ARGUMENT && says(error, "aligned"), "a misaligned input is refused");
  ports.inputs[0] = nullptr;
  expect(run() == EK_BAD_ARGUMENT && says(error, "null"), "a null input is refused");
  ports.inputs[0] = ports.memory[0].data();
  ports.outputs[0] = ports.memory[1].data() + 1;
  expect(run() == EK_BAD_ARGUMENT && says(error, "aligned"), "a misaligned output is refused");
  ports.outputs[0] = ports.memory[1].data();
  expect(ek_run(context.handle, nullptr, ports.outputs.data(), &error) == EK_BAD_ARGUMENT, "no inputs are refused");
  expect(ek_run(nullptr, nullptr, nullptr, &error) == EK_BAD_ARGUMENT, "no context is refused");
  expect(ek_run_profiled(context.handle, ports.inputs.data(), ports.outputs.data(), nullptr, &error) == EK_BAD_ARGUMENT,
         "a profile needs room");
  std::vector<double> seconds(ek_model_operation_count(model.handle));
  const auto before = ports.result();
  expect(ek_run_profiled(context.handle, ports.inputs.data(), ports.outputs.data(), seconds.data(), &error) == EK_OK &&
             before == ports.result(),
         "a profiled run gives the same bytes");
  ek_context* none = nullptr;
  expect(ek_model_open(nullptr, nullptr, nullptr, &error) == EK_BAD_ARGUMENT, "nothing opens nothing");
  expect(ek_context_create(nullptr, nullptr, &none, &error) == EK_BAD_ARGUMENT, "no model has no context");
  ek_model_close(nullptr);
  ek_context_destroy(nullptr);
  ek_state_reset(nullptr);
}

// Buffers of bytes may begin anywhere; the result is the same.
void any_alignment() {
  const Model model(pieces_net());
  const Context context(model);
  Ports ports(model);
  const auto expected = outputs_of(model);
  Bytes in(ports.about[0].bytes + 64), out(ports.about[1].bytes + 64);
  for (std::size_t shift = 0; shift < 64; ++shift) {
    std::memcpy(in.data() + shift, ports.memory[0].data(), ports.about[0].bytes);
    const void* inputs[] = {in.data() + shift};
    void* outputs[] = {out.data() + 63 - shift};
    expect(ek_run(context.handle, inputs, outputs, nullptr) == EK_OK &&
               !std::memcmp(outputs[0], expected.data(), expected.size()),
           "buffers " + std::to_string(shift) + " off give the same bytes");
  }
}

void bad_input() {
  const Model model(table_net());
  const Context context(model);
  Ports ports(model);
  ek_error error;
  const auto run = [&] { return ek_run(context.handle, ports.inputs.data(), ports.outputs.data(), &error); };
  expect(run() == EK_OK, "indices in the table are well");
  auto* index = reinterpret_cast<std::int64_t*>(ports.memory[0].data());
  for (const std::int64_t wrong : {std::int64_t{7}, std::int64_t{-1}, INT64_MIN, INT64_MAX}) {
    index[2] = wrong;
    expect(run() == EK_BAD_INPUT && says(error, "outside its table"), "an index outside is refused");
  }
  index[2] = 6;
  expect(run() == EK_OK, "and the next run is well again");
}

void states() {
  const Model model(recurrent_net());
  const Context context(model);
  Ports ports(model);
  ek_error error;
  std::vector<std::vector<unsigned char>> steps;
  const auto run = [&] {
    expect(ek_run(context.handle, ports.inputs.data(), ports.outputs.data(), &error) == EK_OK, error.message);
    return ports.result();
  };
  for (int i = 0; i < 4; ++i) steps.push_back(run());
  expect(steps[0] != steps[1], "a state changes what comes out");
  std::vector<unsigned char> kept(ek_model_state_bytes(model.handle));
  expect(!kept.empty() && ek_state_save(context.handle, kept.data(), kept.size(), &error) == EK_OK, "a state is saved");
  const auto fifth = run();
  ek_state_reset(context.handle);
  for (int i = 0; i < 2; ++i) expect(run() == steps[static_cast<std::size_t>(i)], "a reset begins anew");
  expect(ek_state_load(context.handle, kept.data(), kept.size(), &error) == EK_OK && run() == fifth,
         "a state goes on where it was saved");
  const Context other(model);
  expect(ek_state_load(other.handle, kept.data(), kept.size(), &error) == EK_OK &&
             ek_run(other.handle, ports.inputs.data(), ports.outputs.data(), &error) == EK_OK &&
             ports.result() == fifth,
         "in another context, too");
  expect(ek_state_save(context.handle, kept.data(), kept.size() - 1, &error) == EK_BAD_ARGUMENT &&
             ek_state_load(context.handle, nullptr, kept.size(), &error) == EK_BAD_ARGUMENT,
         "a buffer of another size is refused");
}

}  // namespace
}  // namespace edgekit::test

int main() {
  using namespace edgekit::test;
  versions();
  newer_files();
  damaged_files();
  options_of_every_age();
  logs();
  descriptions();
  arguments();
  any_alignment();
  bad_input();
  states();
  return verdict();
}
