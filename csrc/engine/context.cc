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
  if (threads > threads_.threads())
    shared.say(std::to_string(threads) + " threads are asked for; " + std::to_string(threads_.threads()) +
               " are used, the most there can be.");
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

// Runs phases of which nothing is parallel; false at the end. A phase is the steps up to the next that waits, or each
// step for itself where its time is asked for.
bool context::advance(unsigned thread) {
  const std::vector<step>& steps = model_.steps;
  const part alone = {0, 1, scratch(thread)};
  for (;;) {
    if (seconds_) {
      const double now = seconds_now();
      if (next_ != 0) seconds_[steps[first_].operation] += now - began_;
      began_ = now;
    }
    first_ = next_;
    if (first_ == steps.size()) return false;
    bool parallel = steps[next_++].parallel;
    while (!seconds_ && next_ != steps.size() && !steps[next_].waits) parallel = steps[next_++].parallel || parallel;
    if (parallel && threads_.threads() > 1) return true;
    for (std::size_t i = first_; i < next_; ++i) steps[i].run(args_ + steps[i].args, alone);
  }
}

void context::run_part(unsigned index, unsigned thread) {
  const part shared = {index, threads_.threads(), scratch(thread)}, alone = {0, 1, scratch(thread)};
  for (std::size_t i = first_; i < next_; ++i) {
    const step& one = model_.steps[i];
    if (one.parallel || index == 0) one.run(args_ + one.args, one.parallel ? shared : alone);
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
  seconds_ = seconds;
  if (seconds) std::fill_n(seconds, model_.plan.operation_count(), 0.0);
  next_ = 0;
  threads_.run(
      {this, [](void* self, unsigned thread) { return static_cast<context*>(self)->advance(thread); },
       [](void* self, unsigned part, unsigned thread) { static_cast<context*>(self)->run_part(part, thread); }});
  return failed_.load(std::memory_order_relaxed) == 0;
}

}  // namespace edgekit
