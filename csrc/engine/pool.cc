#include "pool.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

namespace edgekit {

namespace {

constexpr int kSpins = 20000;     // between two runs: some 100 microseconds
constexpr int kWaitSpins = 1000;  // inside a run, some 10 microseconds: who waits longer waits for a thread that has no
                                  // core, and lets it have this one

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// std::atomic<uint32_t> is a plain 32-bit word in memory, which is what the system call wants.
static_assert(sizeof(std::atomic<std::uint32_t>) == 4 && std::atomic<std::uint32_t>::is_always_lock_free);

void sleep_while(std::atomic<std::uint32_t>& word, std::uint32_t value) {
  syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

void wake_all(std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

pool::pool(unsigned threads, ek_parallel parallel, void* user)
    : threads_(threads < 1 ? 1 : threads), parallel_(parallel), user_(user) {
  if (parallel_) return;
  own_.reserve(threads_ - 1);
  try {
    for (unsigned i = 1; i < threads_; ++i) own_.emplace_back([this, i] { work(i); });
  } catch (...) {
    stop();
    throw;
  }
}

pool::~pool() {
  stop();
}

void pool::stop() {
  stops_.store(true);
  runs_.fetch_add(1);
  wake_all(runs_);
  for (std::thread& thread : own_) thread.join();
}

// The number of the run that begins after the one that was seen.
std::uint32_t pool::next_run(std::uint32_t seen) {
  for (int spin = 0; spin < kSpins; ++spin) {
    const std::uint32_t now = runs_.load(std::memory_order_acquire);
    if (now != seen) return now;
    pause();
  }
  // Said before the last look, and run() looks at it after it has counted: one of the two sees the other.
  asleep_.fetch_add(1);
  std::uint32_t now;
  while ((now = runs_.load()) == seen) sleep_while(runs_, seen);
  asleep_.fetch_sub(1);
  return now;
}

void pool::work(unsigned index) {
  std::uint32_t seen = 0;
  for (;;) {
    seen = next_run(seen);
    if (stops_.load()) return;
    task_(argument_, index);
    wait();
  }
}

void pool::run(task what, void* argument) {
  if (threads_ == 1) return what(argument, 0);
  if (parallel_) return parallel_(user_, threads_, what, argument);
  task_ = what;
  argument_ = argument;
  runs_.fetch_add(1);
  if (asleep_.load() != 0) wake_all(runs_);
  what(argument, 0);
  wait();
}

void pool::wait() {
  const std::uint32_t passed = passed_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
    arrived_.store(0, std::memory_order_relaxed);
    passed_.store(passed + 1, std::memory_order_release);
    return;
  }
  for (int spin = 0; passed_.load(std::memory_order_acquire) == passed; ++spin) {
    if (spin < kWaitSpins) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
}

}  // namespace edgekit
