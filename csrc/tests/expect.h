// What the native tests say: one line for each expectation that does not hold, and how many there were.
#pragma once

#include <cstdio>
#include <string>

namespace edgekit::test {

inline long checked = 0, wrong = 0;

inline bool expect(bool condition, const std::string& what) {
  ++checked;
  if (!condition && ++wrong <= 20) std::printf("WRONG: %s\n", what.c_str());
  return condition;
}

inline int verdict() {
  std::printf("%ld checks, %ld wrong\n", checked, wrong);
  return wrong || !checked ? 1 : 0;
}

}  // namespace edgekit::test
