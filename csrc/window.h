// Sliding windows: how many fit, and which taps of one lie inside the input. The twin of edgekit/ops/window.py.
#pragma once

#include <algorithm>
#include <cstdint>

namespace edgekit {

// Windows along one axis, as torch counts them; with ceil_mode the last may hang over.
inline std::int64_t window_count(std::int64_t size, std::int64_t kernel, std::int64_t stride, std::int64_t padding,
                                 std::int64_t dilation, bool ceil_mode) {
  const std::int64_t room = size + 2 * padding - dilation * (kernel - 1) - 1;
  if (room < 0 && !(ceil_mode && room + stride - 1 >= 0)) return 0;
  const std::int64_t count = (room + (ceil_mode ? stride - 1 : 0)) / stride + 1;
  return ceil_mode && (count - 1) * stride >= size + padding ? count - 1 : count;
}

// Taps [begin, end) of the window that starts at `start` (negative inside the padding) read the input; the rest read
// padding.
struct taps {
  std::int64_t begin, end;

  taps(std::int64_t start, std::int64_t kernel, std::int64_t dilation, std::int64_t size) {
    const auto first_at_or_after = [&](std::int64_t position) {
      return position <= start ? 0 : (position - start + dilation - 1) / dilation;
    };
    begin = std::min(first_at_or_after(0), kernel);
    end = std::clamp(first_at_or_after(size), begin, kernel);
  }
};

// Values that count along one axis: those inside the input, or those inside input and padding. What hangs over never
// counts.
inline std::int64_t counted(std::int64_t start, std::int64_t kernel, std::int64_t padding, std::int64_t size,
                            bool with_padding) {
  if (with_padding) return std::min(start + kernel, size + padding) - start;
  const taps inside(start, kernel, 1, size);
  return inside.end - inside.begin;
}

}  // namespace edgekit
