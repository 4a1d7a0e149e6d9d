// Lays calls out as steps: operands in the form that the kernel wants, and the places where threads wait for each
// other.
#pragma once

#include "model.h"

namespace edgekit {

class program_writer {
 public:
  explicit program_writer(model& own) : own_(own) {}

  // `signs` holds 0 or 0x80 for each pointer: how it lies in memory.
  void add(u32 operation, const invocation& made, const choice& chosen, const std::vector<std::uint8_t>& signs);

 private:
  struct converted;

  u32 add_args(const void* args, std::size_t bytes);
  void add_step(u32 operation, function run, u32 args, bool parallel, bool concurrent);
  void add_patch(u32 at, const tensor& view);
  u64 temporary(const tensor& touched);
  void read_converted(u32 operation, const pointer& own, u32 at);
  void write_converted(u32 operation, const pointer& own, u64 offset);

  model& own_;
  // Since the threads last waited:
  bool all_serial_ = true;      // only the first had anything to do
  bool uses_temporary_ = true;  // some step reads or writes what the next operation may take for its own
  bool begins_group_ = true;    // the wait was right before the first of the concurrent operations
  u64 temporary_ = 0;           // bytes that this operation has taken
};

}  // namespace edgekit
