#include "pool.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

namespace edgekit {

namespace {

constexpr int kSpins = 20000;     // between two runs: some 100 microseconds
constexpr int kWaitSpins = 1000;  // inside a run, some 10 microseconds: after that, somebody else may need the core

// The ticket: a bit for each part that is taken, one for a job that has ended, and above them the phase's number. The
// number makes sure that nobody takes a part of a phase other than the one that it has looked at.
constexpr std::uint64_t kEnded = std::uint64_t{1} << pool::kMostThreads;
constexpr std::uint64_t kNextPhase = kEnded << 1;

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
    : ticket_(kEnded), threads_(std::clamp(threads, 1u, kMostThreads)), parallel_(parallel), user_(user) {
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

void pool::work(unsigned thread) {
  std::uint32_t seen = 0;
  for (;;) {
    seen = next_run(seen);
    if (stops_.load()) return;
    help(thread);
  }
}

void pool::run(const job& what) {
  job_ = what;  // nobody looks at it before a ticket with parts to take
  if (!advance(0)) return;
  if (parallel_) {
    const auto task = [](void* own, unsigned thread) { static_cast<pool*>(own)->help(thread); };
    return parallel_(user_, threads_, task, this);
  }
  runs_.fetch_add(1);
  if (asleep_.load() != 0) wake_all(runs_);
  help(0);
}

// Takes parts until the job has ended.
void pool::help(unsigned thread) {
  const std::uint64_t all = (kEnded - 1) >> (kMostThreads - threads_), mine = std::uint64_t{1} << thread;
  for (int spin = 0;;) {
    std::uint64_t now = ticket_.load(std::memory_order_acquire);
    if (now & kEnded) return;
    const std::uint64_t open = ~now & all;
    if (open == 0) {
      if (++spin < kWaitSpins) {
        pause();
      } else {
        std::this_thread::yield();
      }
      continue;
    }
    const std::uint64_t chosen = open & mine ? mine : open & -open;
    if (!ticket_.compare_exchange_weak(now, now | chosen, std::memory_order_acq_rel)) continue;
    job_.run(job_.self, static_cast<unsigned>(__builtin_ctzll(chosen)), thread);
    if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) advance(thread);
    spin = 0;
  }
}

// Opens the next phase, or ends the job; only where no part is left.
bool pool::advance(unsigned thread) {
  const bool more = job_.advance(job_.self, thread);
  if (more) left_.store(threads_, std::memory_order_relaxed);
  const std::uint64_t phase = ticket_.load(std::memory_order_relaxed) & -kNextPhase;
  ticket_.store((phase + kNextPhase) | (more ? 0 : kEnded), std::memory_order_release);
  return more;
}

}  // namespace edgekit
