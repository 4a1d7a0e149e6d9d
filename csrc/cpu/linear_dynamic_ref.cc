// linear_dynamic, normative: every row is quantised by its own largest magnitude, multiplied exactly and scaled back:
// out = float32(q . w) * (row scale * weight scale) + bias, each operation rounded to float32.
#include <cfloat>
#include <cmath>

#include "../ops.h"
#include "../part.h"
#include "../requant.h"

namespace edgekit {

namespace {

// The scale of a row: NaN counts as 0, infinity as the largest float, and a row of (almost) nothing has scale 1.
float scale_of(const float* x, std::int64_t fan_in) {
  float largest = 0.0f;
  for (std::int64_t k = 0; k < fan_in; ++k) {
    const float magnitude = std::fabs(x[k]);
    if (magnitude > largest) largest = magnitude;
  }
  const float scale = (largest > FLT_MAX ? FLT_MAX : largest) / 127.0f;
  return scale < FLT_MIN ? 1.0f : scale;
}

std::int32_t dot(const std::int8_t* x, const std::int8_t* weight, std::int64_t fan_in) {
  std::int32_t sum = 0;
  for (std::int64_t k = 0; k < fan_in; ++k) sum += x[k] * weight[k];
  return sum;
}

}  // namespace

std::size_t linear_dynamic_ref_scratch(const linear_dynamic_args& args) {
  return static_cast<std::size_t>(args.fan_in);
}

void linear_dynamic_ref(const linear_dynamic_args& args, const part& part) {
  auto* row = static_cast<std::int8_t*>(part.scratch);
  const range rows = share_of(args.rows, part);
  for (std::int64_t i = rows.begin; i < rows.end; ++i) {
    const float* x = args.x + i * args.fan_in;
    const float scale = scale_of(x, args.fan_in);
    for (std::int64_t k = 0; k < args.fan_in; ++k) row[k] = quantize(x[k], scale, -127, 127);
    for (std::int64_t n = 0; n < args.features; ++n) {
      const auto sum = static_cast<float>(dot(row, args.weight + n * args.fan_in, args.fan_in));
      const float y = sum * (scale * args.weight_scale[n]);
      args.out[i * args.features + n] = args.bias ? y + args.bias[n] : y;
    }
  }
}

}  // namespace edgekit
