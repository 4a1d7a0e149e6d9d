// Words of training: fake quantisation and its gradients, between guard pages, with a scale for each channel.
#include "check.h"

namespace edgekit::test {

namespace {

// Values around all bounds and what is not finite, at the end of memory.
class Reals {
 public:
  explicit Reals(std::int64_t size) : bytes_(size * 4, 0, true) {}
  float* data() const { return reinterpret_cast<float*>(bytes_.bytes()); }

 private:
  Guarded bytes_;
};

void fill(const Reals& to, std::int64_t size, bool finite) {
  const float odd[] = {0.0f, -0.0f, 1e38f, -1e38f, 0.5f, 1.5f, -2.5f, __builtin_inff(), __builtin_nanf("")};
  for (std::int64_t i = 0; i < size; ++i)
    to.data()[i] = draw() % 8 ? static_cast<float>(draw(-3000, 3000)) / 16.0f : odd[draw() % (finite ? 7 : 9)];
}

struct Shape {
  std::int64_t outer = draw(1, 3), channels = draw(1, 4), inner = draw() % 16 ? draw(1, 700) : draw(4000, 9000);
  std::int64_t size = outer * channels * inner;
};

bool same(const float* a, const float* b, std::int64_t size) {
  return std::equal(a, a + size, b);  // 0 and -0 are one value
}

const float kScales[] = {0.37f, 1.0f, 0.0625f, 2.0f};

}  // namespace

void fake_quantisations(const Kernel& kernel, Sweep) {
  for (int i = 0; i < 300; ++i) {
    const Shape shape;
    const Reals x(shape.size), y(shape.size);
    std::vector<float> want(shape.size);
    fill(x, shape.size, false);
    fake_quantize_args args = {x.data(), kScales, want.data(), shape.outer, shape.channels, shape.inner, some_bounds()};
    run_parts(reference<fake_quantize_args>(), args, 1);
    args.out = y.data();
    run_parts(kernel, args, 1);
    verdict(kernel, same(want.data(), y.data(), shape.size), "values of " + std::to_string(shape.inner));
  }
}

void fake_quantisation_gradients(const Kernel& kernel, Sweep) {
  for (int i = 0; i < 300; ++i) {
    const Shape shape;
    const Reals gradient(shape.size), x(shape.size), of_x(shape.size), of_scale(shape.channels);
    std::vector<float> want(shape.size), want_of_scale(shape.channels);
    fill(gradient, shape.size, true);
    fill(x, shape.size, false);
    const bool learned = i % 3 != 0;
    fake_quantize_backward_args args = {
        gradient.data(), x.data(),       kScales,     want.data(),  learned ? want_of_scale.data() : nullptr,
        shape.outer,     shape.channels, shape.inner, some_bounds()};
    run_parts(reference<fake_quantize_backward_args>(), args, 1);
    args.of_x = of_x.data();
    if (learned) args.of_scale = of_scale.data();
    run_parts(kernel, args, 1);
    const bool equal = same(want.data(), of_x.data(), shape.size) &&
                       (!learned || same(want_of_scale.data(), of_scale.data(), shape.channels));
    verdict(kernel, equal, "gradients of " + std::to_string(shape.inner));
  }
}

}  // namespace edgekit::test
