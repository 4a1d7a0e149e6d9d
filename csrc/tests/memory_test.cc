// Memory: what is large comes from the caller's allocator; where any allocation fails, the call says so and leaves
// nothing behind.
//
//   memory_test [allocations]      about how many of a net's allocations fail, one at a time; 1500 unless told
#include <cstdlib>
#include <map>

#include "allocations.h"
#include "nets.h"
#include "runs.h"

namespace edgekit::test {
namespace {

struct Arena {
  std::size_t live = 0, most = 0;
  long calls = 0, refused = 0, wrong = 0;
  std::map<void*, std::size_t> blocks;

  static void* allocate(void* user, std::size_t bytes, std::size_t alignment) {
    Arena& own = *static_cast<Arena*>(user);
    if (++own.calls == own.refused) return nullptr;
    if (alignment == 0 || alignment > 4096 || (alignment & (alignment - 1)) != 0) ++own.wrong;
    void* memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    std::memset(memory, 0xa5, bytes);  // what must not matter
    own.blocks[memory] = bytes;
    own.live += bytes;
    if (own.live > own.most) own.most = own.live;
    return memory;
  }
  static void release(void* user, void* memory) {
    Arena& own = *static_cast<Arena*>(user);
    const auto found = own.blocks.find(memory);
    if (found == own.blocks.end()) {
      ++own.wrong;
      return;
    }
    own.live -= found->second;
    own.blocks.erase(found);
    std::free(memory);
  }
};

ek_model_options with(Arena& arena) {
  ek_model_options options = {};
  options.struct_size = sizeof options;
  options.allocator = {Arena::allocate, Arena::release, &arena};
  return options;
}

void through_the_hook() {
  for (const Net& net : nets()) {
    const Bytes plan = net.make();
    Arena arena;
    {
      const Model usual(plan), model(plan, with(arena));
      expect(arena.live >= ek_model_weight_bytes(model.handle), std::string(net.name) + ": weights are the caller's");
      const std::size_t before = arena.live;
      const Context context(model, 2);
      const std::size_t own = ek_model_arena_bytes(model.handle) + ek_model_state_bytes(model.handle);
      expect(arena.live - before >= own, std::string(net.name) + ": arena and state are the caller's");
      Ports ports(model);
      const long calls = arena.calls;
      expect(ek_run(context.handle, ports.inputs.data(), ports.outputs.data(), nullptr) == EK_OK &&
                 ports.result() == outputs_of(usual),
             std::string(net.name) + ": memory that was not zero gives the same bytes");
      expect(arena.calls == calls, "a run asks for none");
    }
    expect(arena.live == 0 && arena.blocks.empty() && arena.wrong == 0, std::string(net.name) + ": all is given back");
  }
}

// Opens, makes a context, runs, closes; false where a call failed for want of memory.
bool lives(const Bytes& plan, const ek_model_options& options) {
  ek_model* model = nullptr;
  ek_context* context = nullptr;
  ek_error error = {};
  const ek_context_options two = {sizeof two, 2, nullptr, nullptr};
  ek_status status = ek_model_open_memory(plan.data(), plan.size(), &options, &model, &error);
  if (status == EK_OK) status = ek_context_create(model, &two, &context, &error);
  refuse_allocation(0);
  expect(status == EK_OK || (status == EK_NO_MEMORY && error.status == status && error.message[0] && !context),
         std::string("without memory the status is EK_NO_MEMORY, not: ") + error.message);
  expect((context != nullptr) == (status == EK_OK), "a context comes with EK_OK alone");
  ek_context_destroy(context);
  ek_model_close(model);
  return status == EK_OK;
}

void each_hook_call_fails() {
  for (const Net& net : nets()) {
    const Bytes plan = net.make();
    long n = 1;
    for (bool well = false; !well && n < 100; ++n) {
      Arena arena;
      arena.refused = n;
      well = lives(plan, with(arena));
      expect(arena.live == 0 && arena.wrong == 0, std::string(net.name) + ": a failing hook leaves nothing");
    }
    expect(n > 2 && n < 100, std::string(net.name) + ": hook calls fail one after the other");
  }
}

void each_allocation_fails(long most) {
  for (const Net& net : nets()) {
    const Bytes plan = net.make();
    ek_model_options options = {};
    options.struct_size = sizeof options;
    lives(plan, options);  // what the libraries keep for themselves
    const long all = allocations();
    lives(plan, options);
    const long count = allocations() - all, step = count / most + 1;
    for (long n = 1; n <= count; n += n < 100 || n > count - 100 ? 1 : step) {
      const long before = live_allocations();
      refuse_allocation(n);
      lives(plan, options);
      const long left = live_allocations() - before;
      expect(left == 0, std::string(net.name) + ": allocation " + std::to_string(n) + " of " + std::to_string(count) +
                            " fails and " + std::to_string(left) + " stay behind");
    }
  }
}

}  // namespace
}  // namespace edgekit::test

int main(int count, char** words) {
  using namespace edgekit::test;
  through_the_hook();
  each_hook_call_fails();
  each_allocation_fails(count > 1 ? std::atol(words[1]) : 1500);
  return verdict();
}
