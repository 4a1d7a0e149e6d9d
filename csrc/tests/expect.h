// What the native tests say: one line for each expectation that does not hold, and how many there were.
#pragma once

#include <atomic>
#include <cstdio>
#include <string>

namespace edgekit::test {

inline std::atomic<long> checked{0}, wrong{0};  // threads expect, too

inline bool expect(bool condition, const std::string& what) {
  ++checked;
  if (!condition && ++wrong <= 20) std::printf("WRONG: %s\n", what.c_str());
  return condition;
}

inline int verdict() {
  std::printf("%ld checks, %ld wrong\n", checked.load(), wrong.load());
  return wrong || !checked ? 1 : 0;
}

}  // namespace edgekit::test
