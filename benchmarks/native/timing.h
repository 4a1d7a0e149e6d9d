// Times something with what it reads in the caches or out of them. The functions with C names are called from Python.
#pragma once

#include <cstddef>
#include <ctime>
#include <vector>

namespace timing {

// Seconds of each call; a warm sample is a batch of calls, divided.
extern std::vector<double> warm, cold;

inline double now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

void evict();
bool wanted();  // whether timing is asked for
bool enough(const std::vector<double>& samples, double began);
constexpr double kBatch = 20e-6;  // seconds that a warm sample takes at least

template <class Call>
double seconds_of(std::size_t calls, const Call& call) {
  const double began = now();
  for (std::size_t i = 0; i < calls; ++i) call();
  return (now() - began) / static_cast<double>(calls);
}

template <class Call>
void take(const Call& call) {
  warm.clear();
  cold.clear();
  if (!wanted()) return;
  std::size_t calls = 1;
  call();
  while (seconds_of(calls, call) * static_cast<double>(calls) < kBatch) calls *= 2;
  for (const double began = now(); !enough(warm, began);) warm.push_back(seconds_of(calls, call));
  for (const double began = now(); !enough(cold, began);) {
    evict();
    cold.push_back(seconds_of(1, call));
  }
}

}  // namespace timing
