// A loaded plan: verified, kernels chosen, weights packed, and its operations laid out as steps to run in order.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "invocation.h"
#include "memory.h"
#include "select.h"
#include "verify.h"

namespace edgekit {

// One call of a kernel or mover.
struct step {
  function run;
  u32 args;       // byte in the args of all steps
  u32 operation;  // index in the plan
  bool parallel;  // all threads share it; else one does all of it
  bool waits;     // for what is before it to have ended
};

// A pointer in the args of all steps that a context, or a run, fills in.
enum class place : std::uint8_t { arena, state, temporary, constant, input, output };
struct patch {
  u32 at;
  place where;
  u32 port;
  u64 offset;  // in its place
};

struct operation_note {
  std::string kernel, reason;
  i64 macs;
};

struct model {
  model() = default;
  model(const model&) = delete;
  model& operator=(const model&) = delete;

  // To the caller's log, if there is one.
  void say(const std::string& message) const {
    if (log) log(log_user, message.c_str());
  }

  std::unique_ptr<mapping> file;  // where it was opened by path
  plan_view plan;
  ek_allocator allocator;
  ek_log log;
  void* log_user;
  Isa isa;
  block weights;                    // packed
  std::vector<unsigned char> args;  // of all steps; a context has a copy with its own pointers
  std::vector<step> steps;
  std::vector<patch> patches, ports;
  std::vector<u32> failed;  // bytes in args of pointers to the flag that a step may set
  std::vector<operation_note> notes;
  std::vector<std::vector<i64>> row_offsets;  // what args point to
  std::size_t scratch_bytes = 0;              // of each thread
  std::size_t temporary_bytes = 0;            // of operands in another form
};

// Of options of any age; missing ones are defaults.
void load(model& own, const void* data, std::size_t bytes, const ek_model_options& options);

}  // namespace edgekit
