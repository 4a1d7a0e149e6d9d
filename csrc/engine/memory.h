// Memory through the caller's hooks, and files mapped into it.
#pragma once

#include <cstddef>

#include "../include/edgekit.h"

namespace edgekit {

// A block that goes back where it came from; throws failure(EK_NO_MEMORY).
class block {
 public:
  block() = default;
  block(const ek_allocator& allocator, std::size_t bytes);
  block(block&& other) noexcept;
  block& operator=(block&& other) noexcept;
  ~block();

  unsigned char* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  ek_allocator allocator_ = {};
  unsigned char* data_ = nullptr;
  std::size_t size_ = 0;
};

// A file, read-only; throws failure(EK_IO).
class mapping {
 public:
  mapping() = default;
  explicit mapping(const char* path);
  mapping(const mapping&) = delete;
  mapping& operator=(const mapping&) = delete;
  ~mapping();

  const void* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace edgekit
