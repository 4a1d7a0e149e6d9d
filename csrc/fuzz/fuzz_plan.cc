// libFuzzer on what reads a plan: any bytes are refused or become a model, and a small model runs.
//
// Bytes drawn blindly rarely pass the first checks, so a mutation takes the plan apart, changes a field, a row or
// an operand, and puts it together with a right header again; now and then it leaves the header wrong, or is a blind
// one.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#include "../include/edgekit.h"
#include "../tests/plan_writer.h"

namespace {

using namespace edgekit;
using test::Bytes;
using test::Sections;

constexpr std::size_t kMostMemory = 64u << 20;  // of one allocation: what wants more is refused
constexpr i64 kMostValues = 1 << 16;            // of an operand of a plan that is run
constexpr i64 kMostMacs = 1 << 21;
constexpr std::size_t kMostPorts = 64;

void* allocate(void*, std::size_t bytes, std::size_t alignment) {
  return bytes > kMostMemory ? nullptr : std::aligned_alloc(alignment, bytes);
}

void release(void*, void* memory) {
  std::free(memory);
}

struct Free {
  void operator()(unsigned char* memory) const { std::free(memory); }
};
using Exact = std::unique_ptr<unsigned char, Free>;

// No byte more, so that the sanitizer sees who reads or writes behind the end.
Exact exact(std::size_t bytes) {
  void* memory = nullptr;
  if (posix_memalign(&memory, plan::kAlignment, bytes ? bytes : 1) != 0) std::abort();
  return Exact(static_cast<unsigned char*>(memory));
}

struct Random {
  u64 state;

  u32 draw() {  // xorshift64
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<u32>(state >> 32);
  }
  std::size_t below(std::size_t count) { return count ? draw() % count : 0; }
};

// Whether a run ends soon.
bool is_small(const unsigned char* file, const ek_model* model) {
  const auto& head = *reinterpret_cast<const plan::header*>(file);
  const auto* tensors = reinterpret_cast<const plan::tensor*>(file + head.tensors.offset);
  const auto* operands = reinterpret_cast<const u32*>(file + head.operands.offset);
  for (u64 i = 0; i < head.operands.count; ++i)
    if (operands[i] < head.tensors.count && elements(tensors[operands[i]]) > kMostValues) return false;
  for (u32 i = 0; i < head.inputs + head.outputs; ++i)
    if (tensors[i].region_bytes > static_cast<u64>(8 * kMostValues)) return false;
  i64 macs = 0;
  for (u32 i = 0; i < ek_model_operation_count(model); ++i) {
    ek_operation_info about;
    if (ek_model_operation(model, i, &about, nullptr) != EK_OK) std::abort();
    if (about.macs < 0 || (macs += std::min(about.macs, kMostMacs)) >= kMostMacs) return false;
  }
  return head.inputs + head.outputs <= kMostPorts;
}

void run(const ek_model* model, unsigned threads) {
  ek_context_options options = {};
  options.struct_size = sizeof options;
  options.threads = threads;
  ek_context* context = nullptr;
  if (ek_context_create(model, &options, &context, nullptr) != EK_OK) return;
  std::vector<Exact> memory;
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
  ek_tensor_info info;
  for (u32 i = 0; ek_model_input(model, i, &info, nullptr) == EK_OK; ++i) {
    memory.push_back(exact(info.bytes));
    for (std::size_t k = 0; k < info.bytes; ++k) memory.back().get()[k] = static_cast<unsigned char>(k * 37 + 11);
    inputs.push_back(memory.back().get());
  }
  for (u32 i = 0; ek_model_output(model, i, &info, nullptr) == EK_OK; ++i) {
    memory.push_back(exact(info.bytes));
    outputs.push_back(memory.back().get());
  }
  for (int i = 0; i < 2; ++i) ek_run(context, inputs.data(), outputs.data(), nullptr);
  ek_context_destroy(context);
}

bool take_apart(const Bytes& file, Sections& to) {
  if (file.size() < sizeof(plan::header)) return false;
  std::memcpy(&to.head, file.data(), sizeof to.head);
  bool fits = true;
  const auto take = [&](const plan::span& section, auto& entries) {
    using Entry = std::decay_t<decltype(entries[0])>;
    fits = fits && section.offset <= file.size() && section.offset % alignof(Entry) == 0 &&
           section.count <= (file.size() - section.offset) / sizeof(Entry);
    if (!fits) return;
    const auto* begin = reinterpret_cast<const Entry*>(file.data() + section.offset);
    entries.assign(begin, begin + section.count);
  };
  take(to.head.tensors, to.tensors);
  take(to.head.operators, to.operations);
  take(to.head.operands, to.operands);
  take(to.head.attributes, to.attributes);
  take(to.head.strings, to.strings);
  take(to.head.data, to.data);
  return fits;
}

// A number that code forgets, or one near `old`.
u64 some_number(Random& random, u64 old) {
  constexpr u64 kOdd[] = {
      0,           1,   2,        3,          7,          8,          63,           64,           65,           127,
      255,         256, 1u << 20, 0x7fffffff, 0x80000000, 0xffffffff, u64{1} << 40, u64{1} << 48, u64{1} << 62, ~u64{0},
      u64{1} << 63};
  switch (random.below(8)) {
    case 0:
      return old + 1;
    case 1:
      return old - 1;
    case 2:
      return old * 2;
    case 3:
      return old / 2;
    case 4:
      return old ^ (u64{1} << random.below(64));
    case 5:
      return random.below(16);
    case 6:
      return old + 64;
    default:
      return kOdd[random.below(sizeof kOdd / sizeof kOdd[0])];
  }
}

template <class Unit>
void change_unit(Random& random, unsigned char* row, const unsigned char* other, std::size_t bytes) {
  if (bytes < sizeof(Unit)) return;
  const std::size_t at = random.below(bytes / sizeof(Unit)) * sizeof(Unit);
  Unit value;
  std::memcpy(&value, (random.below(3) ? row : other) + at, sizeof value);
  if (random.below(2)) value = static_cast<Unit>(some_number(random, value));
  std::memcpy(row + at, &value, sizeof value);
}

// Changes a word of one row, or takes that word from another row.
template <class Row>
void change_row(Random& random, std::vector<Row>& rows) {
  if (rows.empty()) return;
  auto* row = reinterpret_cast<unsigned char*>(&rows[random.below(rows.size())]);
  const auto* other = reinterpret_cast<const unsigned char*>(&rows[random.below(rows.size())]);
  if (random.below(2)) {
    change_unit<u32>(random, row, other, sizeof(Row));
  } else {
    change_unit<u64>(random, row, other, sizeof(Row));
  }
}

void change_operation(Random& random, Sections& all) {
  if (all.operations.empty()) return;
  const std::size_t at = random.below(all.operations.size());
  switch (random.below(6)) {
    case 0:  // again, with the same operands
      if (all.operations.size() < 64)
        all.operations.insert(all.operations.begin() + static_cast<long>(at), all.operations[at]);
      break;
    case 1:
      all.operations.erase(all.operations.begin() + static_cast<long>(at));
      break;
    case 2:
      std::swap(all.operations[at], all.operations[random.below(all.operations.size())]);
      break;
    case 3:  // another kind on the same operands
      all.operations[at].kind = static_cast<u32>(random.below(static_cast<u32>(plan::kind::count) + 1));
      break;
    case 4:
      all.operations[at].flags ^= plan::kConcurrent;
      break;
    default:
      change_row(random, all.operations);
  }
}

void change_tensor(Random& random, Sections& all) {
  if (all.tensors.empty()) return;
  plan::tensor& t = all.tensors[random.below(all.tensors.size())];
  const plan::tensor& other = all.tensors[random.below(all.tensors.size())];
  const std::size_t d = random.below(plan::kMaxDims), e = random.below(plan::kMaxDims);
  switch (random.below(8)) {
    case 0:
      t = other;
      break;
    case 1:
      t.size[d] = static_cast<i64>(some_number(random, static_cast<u64>(t.size[d])));
      break;
    case 2:
      t.step[d] = static_cast<i64>(some_number(random, static_cast<u64>(t.step[d])));
      break;
    case 3:
      std::swap(t.size[d], t.size[e]);
      std::swap(t.step[d], t.step[e]);
      break;
    case 4:
      t.region = other.region;
      t.region_bytes = other.region_bytes;
      t.kind = other.kind;
      break;
    case 5:
      t.dims = static_cast<u32>(random.below(10));
      break;
    case 6:
      if (all.tensors.size() < 128) all.tensors.push_back(t);
      break;
    default:
      change_row(random, all.tensors);
  }
}

void change(Random& random, Sections& all) {
  std::vector<plan::header> head = {all.head};
  switch (random.below(10)) {
    case 0:
      change_row(random, head);
      all.head = head[0];
      break;
    case 1:
    case 2:
      change_operation(random, all);
      break;
    case 3:
    case 4:
    case 5:
      change_tensor(random, all);
      break;
    case 6:
      if (!all.operands.empty())
        all.operands[random.below(all.operands.size())] =
            random.below(8) ? static_cast<u32>(random.below(all.tensors.size())) : plan::kNone;
      break;
    case 7:
    case 8:
      change_unit<u32>(random, all.attributes.data(), all.attributes.data(), all.attributes.size());
      break;
    default:
      change_unit<u32>(random, all.data.data(), all.data.data(), all.data.size());
  }
}

}  // namespace

// libFuzzer's own `new (nothrow)` is not replaced below, its delete is.
extern "C" const char* __asan_default_options() {
  return "allocator_may_return_null=1:alloc_dealloc_mismatch=0";
}

// Under the sanitizer `new` ends the process where there is no memory; as anywhere else, it throws here.
void* operator new(std::size_t bytes) {
  void* memory = bytes > kMostMemory ? nullptr : std::malloc(bytes ? bytes : 1);
  if (!memory) throw std::bad_alloc();
  return memory;
}

void operator delete(void* memory) noexcept {
  std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  Random random = {(u64{seed} << 20) + 88172645463325252u};
  Bytes file(size);
  std::memcpy(file.data(), data, size);
  Sections all;
  if (random.below(32) == 0 || !take_apart(file, all)) return LLVMFuzzerMutate(data, size, most);
  for (std::size_t n = random.below(3) + 1; n-- > 0;) change(random, all);
  Bytes made = all.bytes();
  if (random.below(16) == 0) {  // spans, sizes and versions that lie
    std::vector<plan::header> head = {made.header()};
    change_row(random, head);
    made.header() = head[0];
  }
  if (made.size() > most) return LLVMFuzzerMutate(data, size, most);
  std::memcpy(data, made.data(), made.size());
  return made.size();
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Exact file = exact(size);
  if (size) std::memcpy(file.get(), data, size);
  u32 hash = 2166136261u;
  for (std::size_t i = 0; i < size; ++i) hash = (hash ^ data[i]) * 16777619u;
  ek_model_options options = {};
  options.struct_size = sizeof options;
  options.isa = hash % 4 ? nullptr : "ref";
  options.allocator = {allocate, release, nullptr};
  ek_model* model = nullptr;
  ek_error error;
  const ek_status status = ek_model_open_memory(file.get(), size, &options, &model, &error);
  if ((status == EK_OK) != (model != nullptr) || (status != EK_OK && !error.message[0])) std::abort();
  if (!model) return 0;
  if (is_small(file.get(), model)) run(model, hash % 16 == 1 ? 2 : 1);
  ek_model_close(model);
  return 0;
}
