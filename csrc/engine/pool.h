// Threads that do a job together, phase by phase: of our own, or of the caller.
//
// A part of a phase belongs to nobody: whoever has a core takes it, the one of its own number first, since what that
// needs is likely in its cache. So a thread that the system holds back delays no more than the part that it is in, and
// one that never comes delays nothing. Neither a start nor a wait takes a lock or allocates.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "../include/edgekit.h"

namespace edgekit {

struct job {
  void* self;
  // Called by one thread while the others wait: does what is for one thread, and says whether a phase with parts
  // follows.
  bool (*advance)(void* self, unsigned thread);
  void (*run)(void* self, unsigned part, unsigned thread);
};

class pool {
 public:
  static constexpr unsigned kMostThreads = 32;  // more asked for is as many

  // Throws std::system_error where threads cannot be had.
  pool(unsigned threads, ek_parallel parallel, void* user);
  pool(const pool&) = delete;
  pool& operator=(const pool&) = delete;
  ~pool();

  unsigned threads() const { return threads_; }
  // Every phase is cut into threads() parts.
  void run(const job& what);

 private:
  void work(unsigned thread);
  std::uint32_t next_run(std::uint32_t seen);
  void help(unsigned thread);
  bool advance(unsigned thread);
  void stop();

  // Each on a cache line of its own: they are written by different threads.
  alignas(64) std::atomic<std::uint64_t> ticket_;   // the phase's number, whether the job has ended, the parts taken
  alignas(64) std::atomic<std::uint32_t> left_{0};  // parts that have not ended
  alignas(64) std::atomic<std::uint32_t> runs_{0};
  alignas(64) std::atomic<std::uint32_t> asleep_{0};
  std::atomic<bool> stops_{false};
  job job_ = {};
  unsigned threads_;
  ek_parallel parallel_;
  void* user_;
  std::vector<std::thread> own_;
};

}  // namespace edgekit
