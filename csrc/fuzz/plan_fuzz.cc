// Opens whatever bytes it is given as a plan, and runs it where it is accepted: nothing may crash, leak or hang.
//
// With libFuzzer, or alone with EDGEKIT_FUZZ_ALONE: plan_fuzz COUNT SEED.ekm..., which changes fields of the seeds at
// random, COUNT times in all.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "../engine/plan.h"
#include "../include/edgekit.h"

namespace {

using edgekit::plan::header;

constexpr std::size_t kMostBytes = 1 << 24;  // of memory that a plan asks for; more is legal, and slow to clear

struct release {
  void operator()(void* memory) const { std::free(memory); }
};

bool is_small(const std::uint8_t* data, std::size_t bytes) {
  header head;
  if (bytes < sizeof head) return true;
  std::memcpy(&head, data, sizeof head);
  return head.arena_bytes <= kMostBytes && head.state_bytes <= kMostBytes;
}

// Buffers of exactly the size that the plan asks for, so that the sanitizer sees a byte beyond.
class ports {
 public:
  explicit ports(const ek_model* model) {
    for (std::uint32_t i = 0; i < ek_model_input_count(model); ++i) inputs.push_back(take(model, ek_model_input, i));
    for (std::uint32_t i = 0; i < ek_model_output_count(model); ++i) outputs.push_back(take(model, ek_model_output, i));
  }
  ~ports() {
    for (void* one : all_) std::free(one);
  }
  bool usable() const { return usable_; }

  std::vector<const void*> inputs;
  std::vector<void*> outputs;

 private:
  using describe = ek_status (*)(const ek_model*, std::uint32_t, ek_tensor_info*, ek_error*);

  void* take(const ek_model* model, describe which, std::uint32_t index) {
    ek_tensor_info info;
    which(model, index, &info, nullptr);
    usable_ = usable_ && info.bytes <= kMostBytes && all_.size() < 64;
    all_.push_back(usable_ ? std::calloc(1, info.bytes + (info.bytes == 0)) : nullptr);
    return all_.back();
  }

  std::vector<void*> all_;
  bool usable_ = true;
};

void run(ek_model* model) {
  ports own(model);
  if (!own.usable()) return;
  ek_context_options options = {};
  options.struct_size = sizeof options;
  ek_context* context = nullptr;
  if (ek_context_create(model, &options, &context, nullptr) != EK_OK) return;
  ek_run(context, own.inputs.data(), own.outputs.data(), nullptr);
  ek_run(context, own.inputs.data(), own.outputs.data(), nullptr);
  ek_context_destroy(context);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  if (!is_small(data, bytes)) return 0;
  constexpr std::size_t kAlignment = edgekit::plan::kAlignment;
  void* copy = std::aligned_alloc(kAlignment, (bytes / kAlignment + 1) * kAlignment);
  std::memcpy(copy, data, bytes);
  ek_model* model = nullptr;
  ek_error error;
  if (ek_model_open_memory(copy, bytes, nullptr, &model, &error) == EK_OK) {
    run(model);
    ek_model_close(model);
  } else if (error.message[0] == 0) {
    std::abort();  // a refusal says why
  }
  std::free(copy);
  return 0;
}

#if defined(EDGEKIT_FUZZ_ALONE)

#include <cstdio>
#include <random>

namespace {

using bytes = std::vector<std::uint8_t>;

bytes read_file(const char* path) {
  bytes content;
  if (std::FILE* file = std::fopen(path, "rb")) {
    for (int c; (c = std::fgetc(file)) != EOF;) content.push_back(static_cast<std::uint8_t>(c));
    std::fclose(file);
  }
  return content;
}

// One field of the tables, or any byte, becomes something that hurts.
void change(bytes& content, std::mt19937_64& random) {
  constexpr std::uint64_t kHurts[] = {0,        1,        2,          3,          8,          64,         255,  256,
                                      1u << 20, 1u << 31, 0xffffffff, 1ull << 40, 1ull << 62, ~0ull >> 1, ~0ull};
  const std::size_t width = std::size_t{1} << random() % 4;
  if (content.size() < width) return;
  const std::size_t at = random() % (content.size() / width) * width;
  std::uint64_t value = random() % 2 ? kHurts[random() % (sizeof kHurts / sizeof *kHurts)] : random();
  if (random() % 4 == 0) {
    std::memcpy(&value, content.data() + at, width);
    value += random() % 2 ? 1 : -1;
  }
  std::memcpy(content.data() + at, &value, width);
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) return 2;
  std::mt19937_64 random(1);
  std::vector<bytes> seeds;
  for (int i = 2; i < count; ++i) seeds.push_back(read_file(arguments[i]));
  const long runs = std::atol(arguments[1]);
  for (long i = 0; i < runs; ++i) {
    bytes content = seeds[random() % seeds.size()];
    for (std::uint64_t changes = random() % 4 + (i >= static_cast<long>(seeds.size())); changes > 0; --changes)
      change(content, random);
    LLVMFuzzerTestOneInput(content.data(), content.size());
  }
  std::printf("%ld plans, nothing found\n", runs);
  return 0;
}

#endif
