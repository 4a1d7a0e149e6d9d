// edgekit._C: the operators over numpy arrays. The only file that knows Python.
//
// Each function has the operator's name and arguments, then the keywords `out`, which it fills, and `isa`, which forces
// a tier. Whatever is passed, nothing is read or written out of bounds: dtype, layout, rank and every size are checked
// here, and anything wrong is a ValueError. edgekit/ops checks first and says more.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "dispatch.h"
#include "ops.h"
#include "window.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace edgekit {

namespace {

using Shape = std::vector<py::ssize_t>;
using Axis = std::optional<std::int64_t>;
using Pair = std::array<std::int64_t, 2>;
using Tier = std::optional<std::string>;

constexpr std::int64_t kMaxReduction = 131071;  // 131,071 * 128 * 128 < 2^31
constexpr std::int64_t kLargest = 2147483647;   // strides and the like; their products stay far inside int64
constexpr double kMaxRatio = 1048576.0;         // 2^20

void require(bool condition, const std::string& message) {
  if (!condition) throw std::invalid_argument(message);
}

Shape shape_of(const py::array& array) {
  return Shape(array.shape(), array.shape() + array.ndim());
}

// The dense, aligned, native-endian elements of an array of this type and shape.
template <class T>
const T* input(const py::array& array, const char* name, const Shape& shape) {
  constexpr int kDense = py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  require(array.dtype().equal(py::dtype::of<T>()), std::string(name) + " has the wrong dtype");
  require((array.flags() & kDense) == kDense, std::string(name) + " is not contiguous");
  require(shape_of(array) == shape, std::string(name) + " has the wrong shape");
  return static_cast<const T*>(array.data());
}

template <class T>
T* output(py::array& array, const Shape& shape) {
  input<T>(array, "out", shape);
  require(array.writeable(), "out is read-only");
  return static_cast<T*>(array.mutable_data());
}

const Shape& rank(const Shape& shape, const char* name, std::size_t dimensions) {
  require(shape.size() == dimensions, std::string(name) + " has the wrong number of dimensions");
  return shape;
}

extent pair(const Pair& values, const char* name, std::int64_t least) {
  for (const std::int64_t value : values)
    require(value >= least && value <= kLargest, std::string(name) + " is out of range");
  return {values[0], values[1]};
}

bounds limit(int lo, int hi) {
  require(-128 <= lo && lo <= hi && hi <= 127, "lo and hi must satisfy -128 <= lo <= hi <= 127");
  return {lo, hi};
}

void require_reduction(std::int64_t fan_in) {
  require(fan_in <= kMaxReduction, "a reduction over more than 131,071 values does not fit int32");
}

extent windows(extent in, extent kernel, extent stride, extent padding, extent dilation, bool ceil_mode) {
  const extent out = {window_count(in.height, kernel.height, stride.height, padding.height, dilation.height, ceil_mode),
                      window_count(in.width, kernel.width, stride.width, padding.width, dilation.width, ceil_mode)};
  require(out.height >= 1 && out.width >= 1, "no window fits the input");
  return out;
}

// x seen as [outer, channels, inner], and the scale that belongs to it.
struct Channels {
  const float* scale;
  std::int64_t outer, channels, inner;
};

Channels channels_of(const py::array& x, const py::array& scale, Axis axis) {
  if (!axis) {
    require(scale.ndim() <= 1 && scale.size() == 1, "scale must hold one value");
    return {input<float>(scale, "scale", shape_of(scale)), 1, 1, x.size()};
  }
  require(-x.ndim() <= *axis && *axis < x.ndim(), "axis is out of range");
  const py::ssize_t at = *axis < 0 ? *axis + x.ndim() : *axis;
  Channels result = {input<float>(scale, "scale", {x.shape(at)}), 1, x.shape(at), 1};
  for (py::ssize_t i = 0; i < at; ++i) result.outer *= x.shape(i);
  for (py::ssize_t i = at + 1; i < x.ndim(); ++i) result.inner *= x.shape(i);
  return result;
}

template <class Args>
void launch(const Args& args, const Tier& isa) {
  py::gil_scoped_release release;
  run(args, isa);
}

void quantize_s8(const py::array& x, const py::array& scale, Axis axis, int lo, int hi, py::array out,
                 const Tier& isa) {
  const Shape shape = shape_of(x);
  const Channels by = channels_of(x, scale, axis);
  launch(quantize_s8_args{input<float>(x, "x", shape), by.scale, output<std::int8_t>(out, shape), by.outer, by.channels,
                          by.inner, limit(lo, hi)},
         isa);
}

void dequantize(const py::array& x, const py::array& scale, Axis axis, py::array out, const Tier& isa) {
  const Shape shape = shape_of(x);
  const Channels by = channels_of(x, scale, axis);
  const bool bytes = x.itemsize() == 1;
  launch(dequantize_args{bytes ? input<std::int8_t>(x, "x", shape) : nullptr,
                         bytes ? nullptr : input<std::int32_t>(x, "x", shape), by.scale, output<float>(out, shape),
                         by.outer, by.channels, by.inner},
         isa);
}

void fake_quantize(const py::array& x, const py::array& scale, Axis axis, int lo, int hi, py::array out,
                   const Tier& isa) {
  const Shape shape = shape_of(x);
  const Channels by = channels_of(x, scale, axis);
  launch(fake_quantize_args{input<float>(x, "x", shape), by.scale, output<float>(out, shape), by.outer, by.channels,
                            by.inner, limit(lo, hi)},
         isa);
}

void linear_s8(const py::array& x, const py::array& weight, const py::array& bias, const py::array& multiplier, int lo,
               int hi, py::array out, const Tier& isa) {
  const Shape filters = rank(shape_of(weight), "weight", 2);
  Shape shape = shape_of(x), result = shape;
  require(!shape.empty() && shape.back() == filters[1], "x and weight have different fan-in");
  require_reduction(filters[1]);
  result.back() = filters[0];
  std::int64_t rows = 1;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  launch(linear_s8_args{input<std::int8_t>(x, "x", shape), input<std::int8_t>(weight, "weight", filters),
                        input<std::int32_t>(bias, "bias", {filters[0]}),
                        input<float>(multiplier, "multiplier", {filters[0]}), output<std::int8_t>(out, result), rows,
                        filters[1], filters[0], limit(lo, hi)},
         isa);
}

void conv2d_s8(const py::array& x, const py::array& weight, const py::array& bias, const py::array& multiplier,
               const Pair& stride, const Pair& padding, const Pair& dilation, std::int64_t groups, int lo, int hi,
               py::array out, const Tier& isa) {
  const Shape image = rank(shape_of(x), "x", 4), filters = rank(shape_of(weight), "weight", 4);
  require(1 <= groups && groups <= kLargest && filters[0] >= 1 && filters[0] % groups == 0, "groups must divide O");
  require(filters[1] >= 1 && filters[2] >= 1 && filters[3] >= 1, "weight is empty");
  require(image[1] % groups == 0 && image[1] / groups == filters[1], "x and weight have different channels");
  require_reduction(filters[1] * filters[2] * filters[3]);
  const extent in = {image[2], image[3]}, kernel = {filters[2], filters[3]}, step = pair(stride, "stride", 1);
  const extent pad = pair(padding, "padding", 0), spread = pair(dilation, "dilation", 1);
  const extent size = windows(in, kernel, step, pad, spread, false);
  const Shape result = {image[0], filters[0], size.height, size.width};
  launch(conv2d_s8_args{input<std::int8_t>(x, "x", image), input<std::int8_t>(weight, "weight", filters),
                        input<std::int32_t>(bias, "bias", {filters[0]}),
                        input<float>(multiplier, "multiplier", {filters[0]}), output<std::int8_t>(out, result),
                        image[0], image[1], filters[0], groups, in, size, kernel, step, pad, spread, limit(lo, hi)},
         isa);
}

void add_s8(const py::array& a, const py::array& b, double ratio_a, double ratio_b, int lo, int hi, py::array out,
            const Tier& isa) {
  const Shape shape = shape_of(a);
  for (const double ratio : {ratio_a, ratio_b}) {
    const double magnitude = ratio < 0 ? -ratio : ratio;
    require(magnitude >= 1 / kMaxRatio && magnitude <= kMaxRatio, "a ratio lies outside [2^-20, 2^20]");
  }
  launch(
      add_s8_args{input<std::int8_t>(a, "a", shape), input<std::int8_t>(b, "b", shape), output<std::int8_t>(out, shape),
                  a.size(), static_cast<float>(ratio_a), static_cast<float>(ratio_b), limit(lo, hi)},
      isa);
}

void lut_s8(const py::array& x, const py::array& table, py::array out, const Tier& isa) {
  const Shape shape = shape_of(x);
  launch(lut_s8_args{input<std::int8_t>(x, "x", shape), input<std::int8_t>(table, "table", {256}),
                     output<std::int8_t>(out, shape), x.size()},
         isa);
}

// torch's condition for pools; with it every window of dilation 1 meets the input.
void require_half(extent padding, extent kernel) {
  require(padding.height <= kernel.height / 2 && padding.width <= kernel.width / 2, "padding is over half the kernel");
}

void avg_pool_s8(const py::array& x, const py::array& multiplier, const Pair& kernel, const Pair& stride,
                 const Pair& padding, bool ceil_mode, bool count_include_pad, int lo, int hi, py::array out,
                 const Tier& isa) {
  const Shape image = rank(shape_of(x), "x", 4);
  const extent in = {image[2], image[3]}, taps = pair(kernel, "kernel", 1), step = pair(stride, "stride", 1);
  const extent pad = pair(padding, "padding", 0);
  require_half(pad, taps);
  require_reduction(taps.height * taps.width);
  const extent size = windows(in, taps, step, pad, {1, 1}, ceil_mode);
  launch(avg_pool_s8_args{input<std::int8_t>(x, "x", image),
                          input<float>(multiplier, "multiplier", {taps.height * taps.width + 1}),
                          output<std::int8_t>(out, {image[0], image[1], size.height, size.width}), image[0] * image[1],
                          in, size, taps, step, pad, count_include_pad, limit(lo, hi)},
         isa);
}

void max_pool_s8(const py::array& x, const Pair& kernel, const Pair& stride, const Pair& padding, const Pair& dilation,
                 bool ceil_mode, py::array out, const Tier& isa) {
  const Shape image = rank(shape_of(x), "x", 4);
  const extent in = {image[2], image[3]}, taps = pair(kernel, "kernel", 1), step = pair(stride, "stride", 1);
  const extent pad = pair(padding, "padding", 0), spread = pair(dilation, "dilation", 1);
  require_half(pad, taps);
  const extent size = windows(in, taps, step, pad, spread, ceil_mode);
  launch(max_pool_s8_args{input<std::int8_t>(x, "x", image),
                          output<std::int8_t>(out, {image[0], image[1], size.height, size.width}), image[0] * image[1],
                          in, size, taps, step, pad, spread},
         isa);
}

py::list table() {
  py::list rows;
  for (const Kernel& kernel : kernels()) {
    rows.append(py::dict("op"_a = kernel.op, "isa"_a = name(kernel.isa), "function"_a = kernel.function,
                         "flags"_a = kernel.flags, "available"_a = (isa_flags() & bit(kernel.isa)) != 0));
  }
  return rows;
}

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Isa isa : kAllIsas) {
    if (isa_flags() & bit(isa)) names.push_back(name(isa));
  }
  return names;
}

}  // namespace

}  // namespace edgekit

PYBIND11_MODULE(_C, m) {
  using namespace edgekit;
  m.doc() = "The C++ kernels of edgekit over numpy arrays; use torch.ops.edgekit, which checks and allocates.";
  const py::kw_only kw;
  const auto axis = "axis"_a = py::none(), lo = "lo"_a = -128, hi = "hi"_a = 127, isa = "isa"_a = py::none();
  const auto x = "x"_a, out = "out"_a, kernel = "kernel"_a, stride = "stride"_a, padding = "padding"_a;
  m.def("quantize_s8", &quantize_s8, x, "scale"_a, axis, lo, hi, kw, out, isa);
  m.def("dequantize", &dequantize, x, "scale"_a, axis, kw, out, isa);
  m.def("fake_quantize", &fake_quantize, x, "scale"_a, axis, lo, hi, kw, out, isa);
  m.def("linear_s8", &linear_s8, x, "weight"_a, "bias"_a, "multiplier"_a, lo, hi, kw, out, isa);
  m.def("conv2d_s8", &conv2d_s8, x, "weight"_a, "bias"_a, "multiplier"_a, stride, padding, "dilation"_a, "groups"_a, lo,
        hi, kw, out, isa);
  m.def("add_s8", &add_s8, "a"_a, "b"_a, "ratio_a"_a, "ratio_b"_a, lo, hi, kw, out, isa);
  m.def("lut_s8", &lut_s8, x, "table"_a, kw, out, isa);
  m.def("avg_pool_s8", &avg_pool_s8, x, "multiplier"_a, kernel, stride, padding, "ceil_mode"_a, "count_include_pad"_a,
        lo, hi, kw, out, isa);
  m.def("max_pool_s8", &max_pool_s8, x, kernel, stride, padding, "dilation"_a, "ceil_mode"_a, kw, out, isa);
  m.def("kernels", &table, "The rows of csrc/kernels.def, and whether this machine runs each.");
  m.def("isa_flags", &available_isas, "The instruction sets that kernels may use on this machine, the plainest first.");
}
