// Stands in for csrc/call.cc: a kernel is timed on arguments that are laid out and packed as it wants them, which is
// what the engine gives it.
#include <pybind11/pybind11.h>

#include <atomic>
#include <cstring>

#include "buffer.h"
#include "dispatch.h"
#include "timing.h"

namespace timing {

std::vector<double> warm, cold;

namespace {

std::size_t least_samples = 0, evicted_bytes = 0;
double most_seconds = 0;
std::vector<unsigned char> other;
const char* ran = "";

}  // namespace

bool wanted() {
  return least_samples > 0;
}

bool enough(const std::vector<double>& samples, double began) {
  const double seconds = now() - began;
  return samples.size() >= 3 && (samples.size() >= least_samples || seconds > most_seconds);
}

// Writes more than the caches hold, so that nothing of the call is left in them.
void evict() {
  other.resize(evicted_bytes);
  for (std::size_t i = 0; i < other.size(); i += 64) ++other[i];
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

}  // namespace timing

namespace edgekit {

void call(const Kernel& kernel, const void* args) {
  Buffer scratch(kernel.scratch(args));
  const part whole{0, 1, scratch.bytes()};
  timing::ran = kernel.function;
  kernel.call(args, whole);
  timing::take([&] { kernel.call(args, whole); });
}

void bind_engine(pybind11::module_&) {}  // kernels alone

}  // namespace edgekit

#define TIMING_API extern "C" __attribute__((visibility("default")))

// 0 samples: run and do not time. At least three are taken however long they last.
TIMING_API void timing_set(std::size_t samples, double seconds, std::size_t evicted) {
  timing::least_samples = samples;
  timing::most_seconds = seconds;
  timing::evicted_bytes = evicted;
}

// The kernel that ran last.
TIMING_API const char* timing_kernel() {
  return timing::ran;
}

// The samples of the last call, warm or cold; returns how many.
TIMING_API std::size_t timing_samples(int is_cold, double* to, std::size_t room) {
  const std::vector<double>& samples = is_cold ? timing::cold : timing::warm;
  const std::size_t count = samples.size() < room ? samples.size() : room;
  std::memcpy(to, samples.data(), count * sizeof(double));
  return count;
}

// Times a copy of so many bytes by the C library.
TIMING_API void timing_copy(std::size_t bytes) {
  edgekit::Buffer from(bytes, 1), to(bytes);
  timing::take([&] {
    std::memcpy(to.bytes(), from.bytes(), bytes);
    asm volatile("" : : "r"(to.bytes()) : "memory");
  });
}
