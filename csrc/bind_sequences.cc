// The part of edgekit._C that works on rows and sequences: softmax, norms, recurrent layers. Rules: bind.cc.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bind.h"
#include "ops_sequences.h"

using namespace pybind11::literals;

namespace edgekit {

namespace {

constexpr std::int64_t kMaxSet = 16777215;  // 2^24 - 1: what the sums of norm.h hold

double epsilon(double value) {
  require(value >= 0 && value <= 3.40282346638528859812e+38, "eps must be finite and not negative");
  return value;
}

std::int64_t product(const Shape& shape, std::size_t first, std::size_t last) {
  std::int64_t total = 1;
  for (std::size_t i = first; i < last; ++i) total *= shape[i];
  return total;
}

// x as [rows, length], where `trailing` dimensions form a set.
struct Sets {
  std::int64_t rows, length;
};

Sets sets(const Shape& shape, std::size_t trailing) {
  require(trailing >= 1 && trailing <= shape.size(), "x has too few dimensions");
  const std::size_t split = shape.size() - trailing;
  const Sets result = {product(shape, 0, split), product(shape, split, shape.size())};
  require(result.length >= 1 && result.length <= kMaxSet, "a set must hold 1 to 2^24 - 1 values");
  return result;
}

// Where the mask of each row of x begins, and how far apart its values are: 0 along what is broadcast.
struct Mask {
  const std::uint8_t* values = nullptr;  // a bool that numpy took from elsewhere may be any byte
  std::vector<std::int64_t> rows;
  std::int64_t stride = 0;
};

Mask mask_of(const std::optional<py::array>& mask, const Shape& shape, std::int64_t rows) {
  if (!mask) return {};
  const Shape own = shape_of(*mask);
  require(own.size() <= shape.size(), "mask has more dimensions than x");
  std::vector<std::int64_t> strides(shape.size(), 0);
  std::int64_t step = 1;
  for (std::size_t i = own.size(); i-- > 0;) {
    const std::size_t at = i + shape.size() - own.size();
    require(own[i] == 1 || own[i] == shape[at], "mask does not broadcast to x");
    strides[at] = own[i] == 1 ? 0 : step;
    step *= own[i];
  }
  Mask result = {reinterpret_cast<const std::uint8_t*>(input<bool>(*mask, "mask", own)),
                 std::vector<std::int64_t>(static_cast<std::size_t>(rows)), strides.back()};
  for (std::int64_t row = 0; row < rows; ++row) {
    std::int64_t rest = row, begin = 0;
    for (std::size_t i = shape.size() - 1; i-- > 0; rest /= shape[i]) begin += rest % shape[i] * strides[i];
    result.rows[static_cast<std::size_t>(row)] = begin;
  }
  return result;
}

void softmax_s8(const py::array& x, const py::array& table, double output_scale, const std::optional<py::array>& mask,
                py::array out, const Tier& isa) {
  const Shape shape = shape_of(x);
  const Sets by = sets(shape, 1);
  const Mask taken = mask_of(mask, shape, by.rows);
  launch(softmax_s8_args{input<std::int8_t>(x, "x", shape), input<std::int32_t>(table, "table", {256}), taken.values,
                         taken.rows.data(), output<std::int8_t>(out, shape), by.rows, by.length, taken.stride,
                         normal(output_scale, "output_scale"), 0},
         isa);
}

void layer_norm_s8(const py::array& x, const py::array& gain, const py::array& offset, double scale, double eps,
                   py::array out, const Tier& isa) {
  const Shape shape = shape_of(x), set = shape_of(gain);
  const Sets by = sets(shape, set.size());
  require(std::equal(set.begin(), set.end(), shape.end() - gain.ndim()), "gain does not fit the end of x");
  launch(layer_norm_s8_args{input<std::int8_t>(x, "x", shape), input<float>(gain, "gain", set),
                            input<float>(offset, "offset", set), output<std::int8_t>(out, shape), by.rows, by.length,
                            normal(scale, "scale"), epsilon(eps), 0},
         isa);
}

void rms_norm_s8(const py::array& x, const py::array& gain, double scale, double eps, py::array out, const Tier& isa) {
  const Shape shape = shape_of(x), set = shape_of(gain);
  const Sets by = sets(shape, set.size());
  require(std::equal(set.begin(), set.end(), shape.end() - gain.ndim()), "gain does not fit the end of x");
  launch(rms_norm_s8_args{input<std::int8_t>(x, "x", shape), input<float>(gain, "gain", set),
                          output<std::int8_t>(out, shape), by.rows, by.length, normal(scale, "scale"), epsilon(eps), 0},
         isa);
}

void l2_norm_s8(const py::array& x, double scale, double output_scale, double eps, py::array out, const Tier& isa) {
  const Shape shape = shape_of(x);
  const Sets by = sets(shape, 1);
  const float sy = static_cast<float>(normal(output_scale, "output_scale"));
  launch(l2_norm_s8_args{input<std::int8_t>(x, "x", shape), output<std::int8_t>(out, shape), by.rows, by.length,
                         normal(scale, "scale"), epsilon(eps), 1.0f / sy, 0},
         isa);
}

void group_norm_s8(const py::array& x, std::int64_t groups, const py::array& gain, const py::array& offset,
                   double scale, double eps, py::array out, const Tier& isa) {
  const Shape shape = shape_of(x);
  require(shape.size() >= 2, "x has too few dimensions");
  require(groups >= 1 && groups <= shape[1] && shape[1] % groups == 0, "groups must divide the channels");
  const std::int64_t channels = shape[1] / groups, inner = product(shape, 2, shape.size());
  require(channels * inner >= 1 && channels * inner <= kMaxSet, "a set must hold 1 to 2^24 - 1 values");
  launch(group_norm_s8_args{input<std::int8_t>(x, "x", shape), input<float>(gain, "gain", {shape[1]}),
                            input<float>(offset, "offset", {shape[1]}), output<std::int8_t>(out, shape), shape[0],
                            groups, channels, inner, normal(scale, "scale"), epsilon(eps), 0},
         isa);
}

// The ratios of a recurrent layer, all of them normal.
template <class Ratios>
Ratios ratios_of(const py::array& array) {
  constexpr std::size_t kCount = sizeof(Ratios) / sizeof(float);
  const float* values = input<float>(array, "ratios", {static_cast<py::ssize_t>(kCount)});
  Ratios result;
  std::memcpy(&result, values, sizeof(Ratios));
  for (std::size_t i = 0; i < kCount; ++i) normal(values[i], "a ratio");
  return result;
}

void within(std::initializer_list<float> ratios, double least) {
  for (const float ratio : ratios) require(ratio >= least && ratio <= kMaxRatio, "a ratio is out of range");
}

void gru_s8(const py::array& r, const py::array& z, const py::array& n, const py::array& h0, const py::array& weight,
            const py::array& bias, const py::array& multiplier, const py::array& tables, const py::array& ratios,
            bool reverse, py::array out, const Tier& isa) {
  const Shape shape = rank(shape_of(r), "r", 3);
  const py::ssize_t units = shape[2], rows = 3 * units;
  require_reduction(units);
  const gru_ratios k = ratios_of<gru_ratios>(ratios);
  within({k.input_r, k.hidden_r, k.input_z, k.hidden_z, k.input_n, k.reset_n, k.new_h, k.old_h}, 1 / kMaxRatio);
  launch(gru_s8_args{input<std::int8_t>(r, "r", shape), input<std::int8_t>(z, "z", shape),
                     input<std::int8_t>(n, "n", shape), input<std::int8_t>(h0, "h0", {shape[1], units}),
                     input<std::int8_t>(weight, "weight", {rows, units}), input<std::int32_t>(bias, "bias", {rows}),
                     input<float>(multiplier, "multiplier", {rows}), input<std::int8_t>(tables, "tables", {4, 256}),
                     output<std::int8_t>(out, shape), shape[0], shape[1], units, k, reverse, 0, nullptr},
         isa);
}

void lstm_s8(const py::array& i, const py::array& f, const py::array& g, const py::array& o, const py::array& h0,
             const py::array& c0, const py::array& weight, const py::array& bias, const py::array& multiplier,
             const py::array& tables, const py::array& ratios, bool reverse, std::pair<py::array, py::array> out,
             const Tier& isa) {
  const Shape shape = rank(shape_of(i), "i", 3);
  const py::ssize_t units = shape[2], rows = 4 * units;
  const Shape state = {shape[1], units};
  require_reduction(units);
  const lstm_ratios k = ratios_of<lstm_ratios>(ratios);
  within({k.input_i, k.hidden_i, k.input_f, k.hidden_f, k.input_g, k.hidden_g, k.input_o, k.hidden_o}, 1 / kMaxRatio);
  within({k.forget, k.write}, 1.0 / 32768);  // edgekit/ops/lstm_s8.py: the reference is exact from there on
  launch(lstm_s8_args{input<std::int8_t>(i, "i", shape), input<std::int8_t>(f, "f", shape),
                      input<std::int8_t>(g, "g", shape), input<std::int8_t>(o, "o", shape),
                      input<std::int8_t>(h0, "h0", state), input<float>(c0, "c0", state),
                      input<std::int8_t>(weight, "weight", {rows, units}), input<std::int32_t>(bias, "bias", {rows}),
                      input<float>(multiplier, "multiplier", {rows}), input<std::int8_t>(tables, "tables", {5, 256}),
                      output<std::int8_t>(out.first, shape), output<float>(out.second, state), shape[0], shape[1],
                      units, k, reverse, 0, nullptr},
         isa);
}

}  // namespace

void bind_sequences(py::module_& m) {
  const py::kw_only kw;
  const auto x = "x"_a, gain = "gain"_a, offset = "offset"_a, scale = "scale"_a, eps = "eps"_a;
  const auto out = "out"_a;
  const auto isa = "isa"_a = py::none();
  m.def("softmax_s8", &softmax_s8, x, "table"_a, "output_scale"_a, "mask"_a = py::none(), kw, out, isa);
  m.def("layer_norm_s8", &layer_norm_s8, x, gain, offset, scale, eps, kw, out, isa);
  m.def("rms_norm_s8", &rms_norm_s8, x, gain, scale, eps, kw, out, isa);
  m.def("l2_norm_s8", &l2_norm_s8, x, scale, "output_scale"_a, eps, kw, out, isa);
  const auto weight = "weight"_a, bias = "bias"_a, multiplier = "multiplier"_a, tables = "tables"_a;
  const auto h0 = "h0"_a, ratios = "ratios"_a, reverse = "reverse"_a;
  m.def("gru_s8", &gru_s8, "r"_a, "z"_a, "n"_a, h0, weight, bias, multiplier, tables, ratios, reverse, kw, out, isa);
  m.def("lstm_s8", &lstm_s8, "i"_a, "f"_a, "g"_a, "o"_a, h0, "c0"_a, weight, bias, multiplier, tables, ratios, reverse,
        kw, out, isa);
  m.def("group_norm_s8", &group_norm_s8, x, "groups"_a, gain, offset, scale, eps, kw, out, isa);
}

}  // namespace edgekit
