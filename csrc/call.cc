// A file of its own, because benchmarks/native/timed_call.cc takes its place where kernels are timed.
#include "buffer.h"
#include "dispatch.h"

namespace edgekit {

void call(const Kernel& kernel, const void* args) {
  Buffer scratch(kernel.scratch(args));
  kernel.call(args, part{0, 1, scratch.bytes()});
}

}  // namespace edgekit
