// The memory of one run at a time, and the threads that share it.
#pragma once

#include <atomic>
#include <memory>

#include "model.h"
#include "pool.h"

namespace edgekit {

class context {
 public:
  // Throws failure, std::bad_alloc, std::system_error.
  context(const model& shared, unsigned threads, ek_parallel parallel, void* user);

  // False where a step found an input value outside what the model takes. `seconds` may be null.
  bool run(const void* const* inputs, void* const* outputs, double* seconds);

  const model& shared() const { return model_; }
  unsigned char* state() const { return state_; }

 private:
  static void run_steps(void* self, unsigned index);
  static void run_profiled(void* self, unsigned index);
  unsigned char* base(place where) const;

  const model& model_;
  block memory_;
  unsigned char *args_, *arena_, *temporary_, *state_, *scratch_;
  std::size_t scratch_step_;  // from one thread's to the next
  bool parallel_ = false;     // some step runs on all threads
  std::atomic<std::uint32_t> failed_{0};
  double* seconds_ = nullptr;
  pool threads_;
};

}  // namespace edgekit
