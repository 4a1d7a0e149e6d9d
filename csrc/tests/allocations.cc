#include "allocations.h"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <new>

namespace {

std::atomic<long> made{0}, freed{0}, refused{0};

bool is_refused() {
  if (refused.load(std::memory_order_relaxed) <= 0) return false;
  return refused.fetch_sub(1) == 1;
}

void* counted(void* memory) {
  if (memory) made.fetch_add(1, std::memory_order_relaxed);
  return memory;
}

}  // namespace

namespace edgekit::test {

long allocations() {
  return made.load();
}

long live_allocations() {
  return made.load() - freed.load();
}

void refuse_allocation(long n) {
  refused.store(n);
}

}  // namespace edgekit::test

#if EDGEKIT_SANITIZED

void* operator new(std::size_t bytes) {
  void* memory = is_refused() ? nullptr : counted(std::malloc(bytes ? bytes : 1));
  if (!memory) throw std::bad_alloc();
  return memory;
}

void* operator new(std::size_t bytes, std::align_val_t alignment) {
  const auto unit = static_cast<std::size_t>(alignment);
  void* memory = is_refused() ? nullptr : counted(std::aligned_alloc(unit, (bytes + unit - 1) / unit * unit));
  if (!memory) throw std::bad_alloc();
  return memory;
}

void operator delete(void* memory) noexcept {
  if (memory) freed.fetch_add(1, std::memory_order_relaxed);
  std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept {
  operator delete(memory);
}

void operator delete(void* memory, std::align_val_t) noexcept {
  operator delete(memory);
}

void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  operator delete(memory);
}

#else

// glibc's own names for what these replace; operator new and aligned_alloc of the libraries come here, too.
extern "C" {

void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* memory, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);
void __libc_free(void* memory);

void* malloc(std::size_t bytes) {
  return is_refused() ? nullptr : counted(__libc_malloc(bytes));
}

void* calloc(std::size_t count, std::size_t bytes) {
  return is_refused() ? nullptr : counted(__libc_calloc(count, bytes));
}

void* realloc(void* memory, std::size_t bytes) {
  if (is_refused()) return nullptr;
  void* moved = __libc_realloc(memory, bytes);
  if (!memory) return counted(moved);
  if (bytes) made.fetch_add(1, std::memory_order_relaxed);
  if (moved || !bytes) freed.fetch_add(1, std::memory_order_relaxed);
  return moved;
}

void* memalign(std::size_t alignment, std::size_t bytes) {
  return is_refused() ? nullptr : counted(__libc_memalign(alignment, bytes));
}

void* aligned_alloc(std::size_t alignment, std::size_t bytes) {
  return memalign(alignment, bytes);
}

int posix_memalign(void** memory, std::size_t alignment, std::size_t bytes) {
  *memory = memalign(alignment, bytes);
  return *memory ? 0 : ENOMEM;
}

void free(void* memory) {
  if (memory) freed.fetch_add(1, std::memory_order_relaxed);
  __libc_free(memory);
}

}  // extern "C"

#endif
