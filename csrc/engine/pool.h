// Threads that run one task together and wait for each other inside it: of our own, or of the caller.
//
// Our own spin for a moment after a run, since the next one often follows at once, and sleep after that. Neither a
// start nor a wait takes a lock or allocates.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "../include/edgekit.h"

namespace edgekit {

class pool {
 public:
  using task = void (*)(void* argument, unsigned index);

  // Throws std::system_error where threads cannot be had.
  pool(unsigned threads, ek_parallel parallel, void* user);
  pool(const pool&) = delete;
  pool& operator=(const pool&) = delete;
  ~pool();

  unsigned threads() const { return threads_; }
  // Runs task(argument, 0 .. threads - 1), all at once.
  void run(task what, void* argument);
  // Inside a task: returns when all threads have called it.
  void wait();

 private:
  void work(unsigned index);
  std::uint32_t next_run(std::uint32_t seen);
  void stop();

  // Each on a cache line of its own: they are written by different threads.
  alignas(64) std::atomic<std::uint32_t> arrived_{0};
  alignas(64) std::atomic<std::uint32_t> passed_{0};  // how often all have met
  alignas(64) std::atomic<std::uint32_t> runs_{0};
  alignas(64) std::atomic<std::uint32_t> asleep_{0};
  std::atomic<bool> stops_{false};
  task task_ = nullptr;
  void* argument_ = nullptr;
  unsigned threads_;
  ek_parallel parallel_;
  void* user_;
  std::vector<std::thread> own_;
};

}  // namespace edgekit
