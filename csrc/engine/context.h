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
  bool advance(unsigned thread);
  void run_part(unsigned part, unsigned thread);
  unsigned char* scratch(unsigned thread) const { return scratch_ + thread * scratch_step_; }
  unsigned char* base(place where) const;

  const model& model_;
  block memory_;
  unsigned char *args_, *arena_, *temporary_, *state_, *scratch_;
  std::size_t scratch_step_;  // from one thread's to the next
  std::atomic<std::uint32_t> failed_{0};
  double* seconds_ = nullptr;         // of each operation, where they are asked for
  double began_ = 0;                  // the phase
  std::size_t first_ = 0, next_ = 0;  // steps: of this phase, of the one after it
  pool threads_;
};

}  // namespace edgekit
