// The first look at an untrusted plan: after it, every offset, size, step, type and string in it may be relied on.
//
// verify.cc looks at the file and at each tensor alone, verify_program.cc at what operations do to each other's
// memory; whether operands fit a kind is asked where its arguments are made (calls*.cc).
#pragma once

#include <cstddef>
#include <string>

#include "kinds.h"
#include "view.h"

namespace edgekit {

// A plan in memory, section by section.
struct plan_view {
  const plan::header* head;
  const plan::tensor* tensors;
  const plan::operation* operations;
  const plan::u32* operands;
  const unsigned char* attributes;
  const char* strings;
  const unsigned char* data;

  const char* text(u32 at) const { return strings + at; }
  u32 tensor_count() const { return static_cast<u32>(head->tensors.count); }
  u32 operation_count() const { return static_cast<u32>(head->operators.count); }
  // Index of an operand's tensor, kNone where it is left out.
  u32 input(const plan::operation& operation, u32 index) const {
    return index < operation.inputs ? operands[operation.operands + index] : plan::kNone;
  }
  u32 output(const plan::operation& operation, u32 index) const {
    return operands[operation.operands + operation.inputs + index];
  }
};

// Throws failure: not a plan, a newer one, a damaged one.
plan_view verified(const void* file, std::size_t bytes);

// "operation 3 (conv2d_s8 'layer1.conv')", and so for a tensor.
std::string named(const plan_view& plan, const plan::operation& operation);
std::string named(const plan_view& plan, const plan::tensor& tensor);

void verify_program(const plan_view& plan);  // of verify_program.cc

}  // namespace edgekit
