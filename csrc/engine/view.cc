#include "view.h"

#include <algorithm>

namespace edgekit {

namespace {

// Dimensions with more than one index, from the smallest step to the largest; steps in bytes.
struct walk {
  u32 dims = 0;
  u64 size[plan::kMaxDims], step[plan::kMaxDims];
};

walk walk_of(const tensor& t) {
  walk result;
  for (u32 d = 0; d < t.dims; ++d) {
    if (t.size[d] <= 1) continue;
    u32 at = result.dims++;
    const u64 step = static_cast<u64>(t.step[d]) * bytes_of(t.element);
    for (; at > 0 && result.step[at - 1] > step; --at) {
      result.size[at] = result.size[at - 1];
      result.step[at] = result.step[at - 1];
    }
    result.size[at] = static_cast<u64>(t.size[d]);
    result.step[at] = step;
  }
  return result;
}

// Where the elements lie within a period: true where every step of `period` and more is a multiple of it.
bool within(const tensor& t, u64 period, byte_range& inner) {
  const walk steps = walk_of(t);
  inner.begin = (t.region + t.first) % period;
  inner.end = inner.begin + bytes_of(t.element);
  for (u32 d = 0; d < steps.dims; ++d) {
    if (steps.step[d] >= period && steps.step[d] % period != 0) return false;
    if (steps.step[d] < period) inner.end += (steps.size[d] - 1) * steps.step[d];
  }
  return inner.end <= period;
}

// Slices of one array along an inner axis lie interleaved: apart though their ranges meet.
bool interleaved(const tensor& a, const tensor& b) {
  const walk steps = walk_of(a);
  for (u32 d = 0; d < steps.dims; ++d) {
    byte_range first, second;
    const u64 period = steps.step[d];
    if (period && within(a, period, first) && within(b, period, second) && !meet(first, second)) return true;
  }
  return false;
}

}  // namespace

u64 bytes_of(plan::type type) {
  constexpr u64 kBytes[] = {1, 1, 2, 4, 8, 4, 1};
  return kBytes[static_cast<u32>(type)];
}

const char* name(plan::type type) {
  constexpr const char* kNames[] = {"s8", "u8", "s16", "s32", "s64", "f32", "boolean"};
  return kNames[static_cast<u32>(type)];
}

i64 elements(const tensor& t) {
  i64 count = 1;
  for (u32 d = 0; d < t.dims; ++d) count *= t.size[d];
  return count;
}

bool same_sizes(const tensor& a, const tensor& b) {
  return a.dims == b.dims && std::equal(a.size, a.size + a.dims, b.size);
}

bool same_view(const tensor& a, const tensor& b) {
  if (a.kind != b.kind || a.region != b.region || a.first != b.first || a.element != b.element) return false;
  if (!same_sizes(a, b)) return false;
  for (u32 d = 0; d < a.dims; ++d)
    if (a.size[d] > 1 && a.step[d] != b.step[d]) return false;
  return true;
}

bool is_dense(const tensor& t) {
  i64 step = 1;
  for (u32 d = t.dims; d-- > 0; step *= t.size[d])
    if (t.size[d] > 1 && t.step[d] != step) return elements(t) == 0;
  return true;
}

bool fills_its_range(const tensor& t) {
  const walk steps = walk_of(t);
  u64 step = bytes_of(t.element);
  for (u32 d = 0; d < steps.dims; step *= steps.size[d++])
    if (steps.step[d] != step) return false;
  return true;
}

bool repeats(const tensor& t) {
  for (u32 d = 0; d < t.dims; ++d)
    if (t.size[d] > 1 && t.step[d] == 0) return true;
  return false;
}

bool may_overlap_itself(const tensor& t) {
  const walk steps = walk_of(t);
  u64 reach = bytes_of(t.element);
  for (u32 d = 0; d < steps.dims; ++d) {
    if (steps.step[d] < reach) return elements(t) != 0;
    reach += (steps.size[d] - 1) * steps.step[d];
  }
  return false;
}

byte_range range_of(const tensor& t) {
  const bool port = t.kind == plan::storage::input || t.kind == plan::storage::output;
  const u64 begin = (port ? 0 : t.region) + t.first;
  if (elements(t) == 0) return {begin, begin};
  u64 end = begin + bytes_of(t.element);
  for (u32 d = 0; d < t.dims; ++d)
    end += static_cast<u64>(t.size[d] - 1) * static_cast<u64>(t.step[d]) * bytes_of(t.element);
  return {begin, end};
}

bool apart(const tensor& a, const tensor& b) {
  const bool port = a.kind == plan::storage::input || a.kind == plan::storage::output;
  if (a.kind != b.kind || (port && a.region != b.region)) return true;
  return !meet(range_of(a), range_of(b)) || interleaved(a, b);
}

framed with_frame(const tensor& image, i64 top, i64 left, i64 bottom, i64 right) {
  framed result = {image, false};
  tensor& t = result.image;
  const u64 bytes = bytes_of(t.element);
  u64 before = 0, after = 0, down = 0, across = 0;
  const auto grow = [](u64 by, i64 step, u64 unit, u64& to) {
    u64 moved;
    return !__builtin_mul_overflow(by, static_cast<u64>(step) * unit, &moved) &&
           !__builtin_add_overflow(to, moved, &to);
  };
  if (!grow(static_cast<u64>(top), t.step[1], bytes, before) || !grow(static_cast<u64>(left), t.step[2], bytes, before))
    return result;
  if (!grow(static_cast<u64>(bottom), t.step[1], bytes, down) ||
      !grow(static_cast<u64>(right), t.step[2], bytes, across))
    return result;
  if (elements(t) == 0 || before > t.first || __builtin_add_overflow(down, across, &after)) return result;
  const u64 end = range_of(t).end - range_of(t).begin + t.first;
  if (end > t.region_bytes || after > t.region_bytes - end) return result;
  t.first -= before;
  t.size[1] += top + bottom;
  t.size[2] += left + right;
  result.inside = true;
  return result;
}

}  // namespace edgekit
