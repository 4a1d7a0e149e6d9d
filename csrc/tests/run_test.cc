// Runs: the same bytes from every tier, number of threads and pool; contexts side by side; no allocation, no growth.
//
//   run_test [runs]      how often the small net runs to see that nothing grows; 100,000 unless told
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <thread>

#include "allocations.h"
#include "nets.h"
#include "runs.h"

namespace edgekit::test {
namespace {

constexpr i64 kSide = 32;  // large enough for every layer to be shared by threads

std::vector<Bytes> plans() {
  std::vector<Bytes> all = {image_net(kSide)};
  for (const Net& net : nets()) all.push_back(net.make());
  return all;
}

void nets_hold_every_kind() {
  std::vector<bool> held(static_cast<std::size_t>(plan::kind::count));
  for (const Net& net : nets()) {
    Bytes plan = net.make();
    const auto* first = reinterpret_cast<const plan::operation*>(plan.data() + plan.header().operators.offset);
    for (u64 i = 0; i < plan.header().operators.count; ++i) held[first[i].kind] = true;
  }
  for (std::size_t kind = 0; kind < held.size(); ++kind)
    expect(held[kind], std::string("a net holds ") + plan::kKinds[kind].name);
}

void tiers_and_threads() {
  for (const Bytes& plan : plans()) {
    const Model model(plan), plain(plan, "ref");
    for (unsigned which = 0; which < 3; ++which) {
      const auto expected = outputs_of(plain, which, 1, 2);
      for (unsigned threads = 1; threads <= 8; ++threads) {
        const std::string what = std::to_string(threads) + " threads give the bytes of one";
        expect(outputs_of(model, which, threads, 2) == expected, std::string(ek_model_isa(model.handle)) + ", " + what);
        expect(outputs_of(plain, which, threads, 2) == expected, "ref, " + what);
      }
    }
  }
}

void contexts_side_by_side() {
  const Model model(image_net(kSide));
  std::vector<std::vector<unsigned char>> expected;
  for (unsigned which = 0; which < 4; ++which) expected.push_back(outputs_of(model, which));
  std::atomic<int> same{0};
  std::vector<std::thread> all;
  for (unsigned which = 0; which < 4; ++which)
    all.emplace_back([&, which] {
      const Context context(model, 1 + which % 2);
      Ports ports(model, which);
      for (int i = 0; i < 50; ++i) {
        const bool ran = ek_run(context.handle, ports.inputs.data(), ports.outputs.data(), nullptr) == EK_OK;
        same += ran && ports.result() == expected[which];
      }
    });
  for (std::thread& one : all) one.join();
  expect(same == 200, "four contexts at once give their own bytes");
}

struct Pool {
  unsigned calls = 0, most = 0;

  static void together(void* user, unsigned count, void (*task)(void* argument, unsigned index), void* argument) {
    Pool& own = *static_cast<Pool*>(user);
    ++own.calls;
    own.most = count;
    std::vector<std::thread> all;
    for (unsigned i = 1; i < count; ++i) all.emplace_back(task, argument, i);
    task(argument, 0);
    for (std::thread& one : all) one.join();
  }
  // On one thread, which does everything in its first task.
  static void in_turn(void* user, unsigned count, void (*task)(void* argument, unsigned index), void* argument) {
    ++static_cast<Pool*>(user)->calls;
    static_cast<Pool*>(user)->most = count;
    while (count-- > 0) task(argument, count);
  }
};

void a_pool_of_the_caller() {
  const Model model(image_net(kSide));
  const auto expected = outputs_of(model);
  for (const ek_parallel run : {Pool::together, Pool::in_turn})
    for (const unsigned threads : {2u, 3u, 5u, 1000u}) {
      Pool pool;
      const Context context(model, threads, run, &pool);
      Ports ports(model);
      for (int i = 0; i < 3; ++i)
        expect(ek_run(context.handle, ports.inputs.data(), ports.outputs.data(), nullptr) == EK_OK &&
                   ports.result() == expected,
               "a pool of the caller gives the same bytes");
      expect(pool.calls == 3 && pool.most == std::min(threads, 32u), "the caller's pool is used, once for each run");
    }
}

void no_allocation_in_a_run() {
  for (const Bytes& plan : plans()) {
    const Model model(plan);
    for (const unsigned threads : {1u, 3u}) {
      const Context context(model, threads);
      Ports ports(model);
      std::vector<double> seconds(ek_model_operation_count(model.handle));
      ek_error error;
      const long before = allocations();
      ek_run(context.handle, ports.inputs.data(), ports.outputs.data(), &error);  // the first, too
      for (int i = 0; i < 20; ++i) ek_run(context.handle, ports.inputs.data(), ports.outputs.data(), &error);
      ports.inputs[0] = nullptr;
      ek_run(context.handle, ports.inputs.data(), ports.outputs.data(), &error);  // one that fails
      const long more = allocations() - before;
      expect(more == 0, std::to_string(more) + " allocations in runs");
    }
  }
}

long resident_pages() {
  long size = 0, resident = 0;
  FILE* file = std::fopen("/proc/self/statm", "r");
  if (!file) return 0;
  if (std::fscanf(file, "%ld %ld", &size, &resident) != 2) resident = 0;
  std::fclose(file);
  return resident;
}

void nothing_grows(int runs) {
  for (const auto& make :
       {std::function<Bytes()>(recurrent_net), std::function<Bytes()>([] { return image_net(8); })}) {
    const Model model(make());
    const Context context(model, 1);
    Ports ports(model);
    const auto run = [&] { ek_run(context.handle, ports.inputs.data(), ports.outputs.data(), nullptr); };
    for (int i = 0; i < 100; ++i) run();
    const long pages = resident_pages(), before = live_allocations();
    for (int i = 0; i < runs; ++i) run();
    const long grown = resident_pages() - pages, left = live_allocations() - before;
    expect(left == 0, "runs leave no memory behind");
    if (EDGEKIT_SANITIZED) continue;  // the sanitizer's own records grow
    expect(grown * sysconf(_SC_PAGESIZE) <= 64 * 1024, std::to_string(grown) + " pages more after the runs");
  }
}

}  // namespace
}  // namespace edgekit::test

int main(int count, char** words) {
  using namespace edgekit::test;
  nets_hold_every_kind();
  tiers_and_threads();
  contexts_side_by_side();
  a_pool_of_the_caller();
  no_allocation_in_a_run();
  nothing_grows(count > 1 ? std::atoi(words[1]) : 100000);
  return verdict();
}
