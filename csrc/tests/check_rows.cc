// Softmax and norms: rows of every length, pieces and all, in one's own memory, at factors that leave float32.
#include <cmath>
#include <functional>

#include "check.h"

namespace edgekit::test {

namespace {

std::int64_t some_length(int i) {
  const std::int64_t odd[] = {1, 1023, 1024, 1025, 2049, 65537};
  return i % 20 == 19 ? odd[draw() % 6] : draw(1, 300);
}

double some_scale() {
  const double all[] = {0.05, 1.0, 1.1754944e-38, 3e38};
  return all[draw() % 4];
}

std::vector<float> some_floats(std::int64_t count) {
  const float odd[] = {0.0f, 1e-38f, -3e38f, 1e30f, 0.5f};
  std::vector<float> result(count);
  for (float& one : result) one = draw() % 9 ? static_cast<float>(draw(-5000, 5000)) / 64.0f : odd[draw() % 5];
  return result;
}

// Values of one kind in each row: of the whole range, its ends, all alike, or one as far from all others as can be.
void fill_rows(std::int8_t* x, std::int64_t rows, std::int64_t length) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::uint32_t kind = length > 100000 ? 2 : draw() % 4;
    fill(x + row * length, length, kind == 0);
    if (kind == 1) std::memset(x + row * length, static_cast<int>(draw(-128, 127)), length);
    if (kind == 2) {
      std::memset(x + row * length, 127, length);
      x[row * length + draw(0, length - 1)] = -128;
    }
  }
}

// `args` of the reference, with x and out filled in here; the kernel works in place every other time.
template <class Args>
void compare(const Kernel& kernel, Args args, std::int64_t rows, std::int64_t length) {
  const std::int64_t size = rows * length;
  const bool end = draw() & 1, in_place = draw() & 1;
  Guarded x(size, 0, end), y(size, 0, !end);
  std::vector<std::int8_t> want(size);
  fill_rows(x.bytes(), rows, length);
  args.x = x.bytes();
  args.out = want.data();
  args.flip = 0;
  run_parts(reference<Args>(), args, 1);
  args.flip = kernel.flags & kFlips && draw() & 1 ? 0x80 : 0;
  flip(x.bytes(), size, args.flip);
  args.out = in_place ? x.bytes() : y.bytes();
  const unsigned parts = parts_of(kernel);
  run_parts(kernel, args, parts);
  flip(args.out, size, args.flip);
  verdict(kernel, !std::memcmp(want.data(), args.out, size),
          std::to_string(rows) + "x" + std::to_string(length) + " in " + std::to_string(parts) + " parts");
}

std::vector<std::int32_t> some_table() {
  std::vector<std::int32_t> table(256);
  const double scale = draw() & 1 ? 0.03 : 2.0;
  for (int d = 0; d < 256; ++d) table[d] = static_cast<std::int32_t>(std::lrint(std::exp(-d * scale) * 8388608));
  if (draw() % 4 == 0)
    for (std::int32_t& one : table) one = draw() % 3 ? static_cast<std::int32_t>(draw()) : INT32_MAX;
  if (draw() % 16 == 0) std::fill(table.begin(), table.end(), 0);
  return table;
}

// A set that crosses the runs of its sums, and those of which int32 still holds n*q - sum, and no longer.
void long_sets(Sweep sweep, const std::function<void(std::int64_t)>& check) {
  check(70001);
  if (sweep != Sweep::reduced)
    for (const std::int64_t n : {(1 << 23) - 1, (1 << 24) - 1}) check(n);
}

}  // namespace

void softmaxes(const Kernel& kernel, Sweep) {
  for (int i = 0; i < 600; ++i) {
    const std::int64_t length = some_length(i), rows = length <= 300 && draw() & 1 ? draw(1, 90) : draw(1, 6);
    const std::vector<std::int32_t> table = some_table();
    const std::int64_t stride = draw(0, 2);
    const std::uint32_t often = draw() % 3;  // masked: all, some, few
    Guarded mask(rows * length * 2, 0, true);
    for (std::int64_t k = 0; k < rows * length * 2; ++k)
      mask.bytes()[k] = static_cast<std::int8_t>(draw() % 5 < 2 * often ? draw(1, 255) : 0);
    std::vector<std::int64_t> begins(rows);
    for (std::int64_t row = 0; row < rows; ++row) begins[row] = row * length * stride;
    const double scales[] = {1.0 / 127, 0.001, 1e-30, 3e38};
    const bool masked = draw() & 1;
    compare(
        kernel,
        softmax_s8_args{nullptr, table.data(), masked ? reinterpret_cast<const std::uint8_t*>(mask.bytes()) : nullptr,
                        begins.data(), nullptr, rows, length, stride, scales[draw() % 4], 0},
        rows, length);
  }
}

void layer_norms(const Kernel& kernel, Sweep sweep) {
  const auto check = [&](std::int64_t rows, std::int64_t n) {
    const std::vector<float> gain = some_floats(n), offset = some_floats(n);
    compare(kernel,
            layer_norm_s8_args{nullptr, gain.data(), offset.data(), nullptr, rows, n, some_scale(),
                               draw() & 1 ? 1e-5 : 0.0, 0},
            rows, n);
  };
  for (int i = 0; i < 400; ++i) check(draw(1, 6), some_length(i));
  long_sets(sweep, [&](std::int64_t n) { check(1, n); });
}

void rms_norms(const Kernel& kernel, Sweep sweep) {
  const auto check = [&](std::int64_t rows, std::int64_t n) {
    const std::vector<float> gain = some_floats(n);
    compare(kernel, rms_norm_s8_args{nullptr, gain.data(), nullptr, rows, n, some_scale(), draw() & 1 ? 1e-5 : 0.0, 0},
            rows, n);
  };
  for (int i = 0; i < 400; ++i) check(draw(1, 6), some_length(i));
  long_sets(sweep, [&](std::int64_t n) { check(1, n); });
}

void l2_norms(const Kernel& kernel, Sweep sweep) {
  const auto check = [&](std::int64_t rows, std::int64_t n) {
    const double eps[] = {0.0, 1e-12, 30.0};
    compare(kernel,
            l2_norm_s8_args{nullptr, nullptr, rows, n, some_scale(), eps[draw() % 3], draw() & 1 ? 127.0f : 1e30f, 0},
            rows, n);
  };
  for (int i = 0; i < 400; ++i) check(draw(1, 6), some_length(i));
  long_sets(sweep, [&](std::int64_t n) { check(1, n); });
}

void group_norms(const Kernel& kernel, Sweep sweep) {
  const auto check = [&](std::int64_t images, std::int64_t groups, std::int64_t channels, std::int64_t inner) {
    const std::vector<float> gain = some_floats(groups * channels), offset = some_floats(groups * channels);
    compare(kernel,
            group_norm_s8_args{nullptr, gain.data(), offset.data(), nullptr, images, groups, channels, inner,
                               some_scale(), draw() & 1 ? 1e-5 : 0.0, 0},
            images * groups, channels * inner);
  };
  for (int i = 0; i < 400; ++i) check(draw(1, 3), draw(1, 5), draw(1, 9), draw() % 4 ? draw(1, 200) : 1);
  long_sets(sweep, [&](std::int64_t n) { check(1, 1, 1, n); });
  long_sets(sweep, [&](std::int64_t n) { check(1, 1, n, 1); });
}

}  // namespace edgekit::test
