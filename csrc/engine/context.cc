#include "context.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "failure.h"

namespace edgekit {

namespace {

// Hands out pieces of one block, each on a line of the cache.
class pieces {
 public:
  std::size_t take(std::size_t bytes) {
    const std::size_t at = end_;
    std::size_t padded;
    if (__builtin_add_overflow(bytes, plan::kAlignment - 1, &padded) ||
        __builtin_add_overflow(end_, padded / plan::kAlignment * plan::kAlignment, &end_))
      throw failure(EK_NO_MEMORY, "The model needs more memory than can be addressed.");
    return at;
  }
  std::size_t total() const { return end_; }

 private:
  std::size_t end_ = 0;
};

double seconds_now() {
  using clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(clock::now().time_since_epoch()).count();
}

}  // namespace

context::context(const model& shared, unsigned threads, ek_parallel parallel, void* user)
    : model_(shared), threads_(threads, parallel, user) {
  const plan::header& head = *shared.plan.head;
  scratch_step_ = (shared.scratch_bytes + 2 * plan::kAlignment - 1) / plan::kAlignment * plan::kAlignment;
  std::size_t scratch_bytes;
  if (__builtin_mul_overflow(scratch_step_, threads_.threads(), &scratch_bytes))
    throw failure(EK_NO_MEMORY, "The model needs more memory than can be addressed.");
  pieces all;
  const std::size_t args = all.take(shared.args.size()), arena = all.take(head.arena_bytes + plan::kSlack),
                    temporary = all.take(shared.temporary_bytes + plan::kSlack),
                    state = all.take(head.state_bytes + plan::kSlack), scratch = all.take(scratch_bytes);
  memory_ = block(shared.allocator, all.total());
  std::memset(memory_.data(), 0, memory_.size());
  args_ = memory_.data() + args;
  arena_ = memory_.data() + arena;
  temporary_ = memory_.data() + temporary;
  state_ = memory_.data() + state;
  scratch_ = memory_.data() + scratch;
  if (!shared.args.empty()) std::memcpy(args_, shared.args.data(), shared.args.size());
  for (const patch& one : shared.patches) {
    const unsigned char* to = base(one.where) + one.offset;
    std::memcpy(args_ + one.at, &to, sizeof to);
  }
  for (const u32 at : shared.failed) {
    const auto* flag = &failed_;
    std::memcpy(args_ + at, &flag, sizeof flag);
  }
  for (const step& one : shared.steps) parallel_ = parallel_ || one.parallel;
}

unsigned char* context::base(place where) const {
  switch (where) {
    case place::arena:
      return arena_;
    case place::temporary:
      return temporary_;
    case place::state:
      return state_;
    default:
      return const_cast<unsigned char*>(model_.plan.data);  // read only: verify.cc has seen to it
  }
}

void context::run_steps(void* self, unsigned index) {
  context& own = *static_cast<context*>(self);
  const part shared = {index, own.threads_.threads(), own.scratch_ + index * own.scratch_step_};
  const part alone = {0, 1, own.scratch_};
  for (const step& one : own.model_.steps) {
    if (one.waits) own.threads_.wait();
    if (one.parallel) {
      one.run(own.args_ + one.args, shared);
    } else if (index == 0) {
      one.run(own.args_ + one.args, alone);
    }
  }
}

// All wait after each step, so that its time is its own.
void context::run_profiled(void* self, unsigned index) {
  context& own = *static_cast<context*>(self);
  const part shared = {index, own.threads_.threads(), own.scratch_ + index * own.scratch_step_};
  const part alone = {0, 1, own.scratch_};
  for (const step& one : own.model_.steps) {
    const double begin = index == 0 ? seconds_now() : 0;
    if (one.parallel || index == 0) one.run(own.args_ + one.args, one.parallel ? shared : alone);
    own.threads_.wait();
    if (index == 0) own.seconds_[one.operation] += seconds_now() - begin;
  }
}

bool context::run(const void* const* inputs, void* const* outputs, double* seconds) {
  for (const patch& one : model_.ports) {
    const auto* port =
        static_cast<const unsigned char*>(one.where == place::input ? inputs[one.port] : outputs[one.port]);
    const unsigned char* to = port + one.offset;
    std::memcpy(args_ + one.at, &to, sizeof to);
  }
  failed_.store(0, std::memory_order_relaxed);
  if (seconds) {
    seconds_ = seconds;
    std::fill_n(seconds, model_.plan.operation_count(), 0.0);
    threads_.run(run_profiled, this);
  } else if (parallel_) {
    threads_.run(run_steps, this);
  } else {
    const part alone = {0, 1, scratch_};
    for (const step& one : model_.steps) one.run(args_ + one.args, alone);
  }
  return failed_.load(std::memory_order_relaxed) == 0;
}

}  // namespace edgekit
