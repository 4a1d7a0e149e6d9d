// Memory whose ends are watched: a page that nobody may touch before and behind it.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace edgekit::test {

// `bytes` that end where a guard page begins, or begin where one ends; `slack` more may be read behind them.
class Guarded {
 public:
  Guarded(std::size_t bytes, std::size_t slack, bool at_end) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t inside = (bytes + slack + page - 1) / page * page;
    mapped_ = inside + 2 * page;
    base_ =
        static_cast<std::uint8_t*>(mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED) std::abort();
    mprotect(base_, page, PROT_NONE);
    mprotect(base_ + page + inside, page, PROT_NONE);
    begin_ = base_ + page + (at_end ? inside - bytes - slack : 0);
    std::memset(base_ + page, 0xa5, inside);  // what must not matter
  }
  ~Guarded() { munmap(base_, mapped_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  std::int8_t* bytes() const { return reinterpret_cast<std::int8_t*>(begin_); }

 private:
  std::uint8_t *base_, *begin_;
  std::size_t mapped_;
};

}  // namespace edgekit::test
