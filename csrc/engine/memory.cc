#include "memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "failure.h"
#include "plan.h"

namespace edgekit {

namespace {

void* allocate_aligned(void*, std::size_t bytes, std::size_t alignment) {
  return std::aligned_alloc(alignment, bytes);
}

void release_aligned(void*, void* memory) {
  std::free(memory);
}

}  // namespace

block::block(const ek_allocator& allocator, std::size_t bytes) : allocator_(allocator) {
  if (!allocator_.allocate) allocator_ = {allocate_aligned, release_aligned, nullptr};
  constexpr std::size_t kAlignment = plan::kAlignment;
  if (bytes > SIZE_MAX - kAlignment) throw failure(EK_NO_MEMORY, "The model needs more memory than can be addressed.");
  size_ = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (size_ == 0) size_ = kAlignment;
  data_ = static_cast<unsigned char*>(allocator_.allocate(allocator_.user, size_, kAlignment));
  if (!data_) throw failure(EK_NO_MEMORY, "There are no " + std::to_string(size_) + " bytes of memory.");
  if (reinterpret_cast<std::uintptr_t>(data_) % kAlignment == 0) return;
  if (allocator_.release) allocator_.release(allocator_.user, data_);
  throw failure(EK_BAD_ARGUMENT, "The allocator gave memory that is not aligned to 64 bytes.");
}

block::block(block&& other) noexcept {
  *this = std::move(other);
}

block& block::operator=(block&& other) noexcept {
  std::swap(allocator_, other.allocator_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

block::~block() {
  if (data_ && allocator_.release) allocator_.release(allocator_.user, data_);
}

mapping::mapping(const char* path) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  const auto give_up = [&](const char* what) {
    const std::string message = std::string("Cannot ") + what + " '" + path + "': " + std::strerror(errno) + ".";
    if (file >= 0) close(file);
    throw failure(EK_IO, message);
  };
  struct stat about;
  if (file < 0 || fstat(file, &about) != 0) give_up("open");
  if (!S_ISREG(about.st_mode)) {
    errno = EINVAL;
    give_up("map what is not a regular file");
  }
  size_ = static_cast<std::size_t>(about.st_size);
  if (size_ > 0) {
    void* memory = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    if (memory == MAP_FAILED) give_up("map");
    data_ = memory;
  }
  close(file);
}

mapping::~mapping() {
  if (data_) munmap(data_, size_);
}

}  // namespace edgekit
