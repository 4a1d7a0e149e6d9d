// The plan, format 1: what a .ekm file holds. Little-endian, mapped into memory as it is; docs/plan.md says it in
// words.
//
//   header | tensors | operators | operands | attributes | strings | data
//
// Sections lie in this order, each on a multiple of 64 bytes. A tensor is a view: an offset, sizes and steps inside a
// region of one storage. Everything here is untrusted until verify.h has looked at it.
#pragma once

#include <cstdint>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "plans are little-endian, and read where they lie"
#endif

namespace edgekit::plan {

using i32 = std::int32_t;
using u32 = std::uint32_t;
using f32 = float;
using i64 = std::int64_t;
using u64 = std::uint64_t;
using f64 = double;

constexpr unsigned char kMagic[8] = {0x89, 'E', 'K', 'M', '\r', '\n', 0x1a, '\n'};  // as PNG: text mode breaks it
constexpr u32 kMajor = 1;  // another major is refused; a newer minor only where it uses an operator that is not known
constexpr u32 kMinor = 1;  // 1: the float words
constexpr u64 kAlignment = 64;  // of sections, of every constant, and of every region of the arena
constexpr u64 kSlack = 64;      // bytes behind arena and data that a kernel may read, and never uses
constexpr u32 kMaxDims = 8;
constexpr u32 kNone = 0xffffffff;  // an operand that is left out

struct span {  // of a section: where it begins in the file, and how many entries (bytes, where it has none) it has
  u64 offset, count;
};

struct header {
  unsigned char magic[8];
  u32 major, minor;
  u64 file_bytes;
  u64 arena_bytes, state_bytes;  // without slack
  span tensors, operators, operands, attributes, strings, data;
  u32 inputs, outputs;  // the tensors of kind input come first, then those of kind output
  u64 reserved[2];      // 0
};

enum class type : u32 { s8, u8, s16, s32, s64, f32, boolean };

// constant: in the data section. state: kept from one run to the next. input, output: the caller's own memory.
enum class storage : u32 { arena, constant, state, input, output };

struct tensor {
  u32 name;  // into strings, 0-terminated
  type element;
  storage kind;
  u32 dims;
  u64 region, region_bytes;  // in its storage; for input and output the index of the port, and its bytes
  u64 first;                 // byte in the region at which element [0, ..., 0] begins
  f32 scale;                 // of s8, s16: real = scale * q; 0 for others
  u32 reserved;              // 0
  i64 size[kMaxDims];        // >= 0 (0: nothing is computed), unused ones 1
  i64 step[kMaxDims];        // in elements, >= 0; 0 only in what is only read
};

struct operation {
  u32 kind;                       // of plan.def
  u32 flags;                      // kConcurrent
  u32 name, source;               // into strings: the node, and the user's line
  u32 operands, inputs, outputs;  // first entry in the operands section; inputs, then outputs
  u32 attributes;                 // byte in the attributes section; its struct is that of the kind, aligned to 8
};

constexpr u32 kConcurrent = 1;  // needs nothing of the operation before it, nor writes what that reads or writes

}  // namespace edgekit::plan
