// What every binding checks its arrays with, so that nothing is read or written out of bounds; wrong is a ValueError.
#pragma once

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

namespace edgekit {

namespace py = pybind11;

using Shape = std::vector<py::ssize_t>;
using Axis = std::optional<std::int64_t>;
using Pair = std::array<std::int64_t, 2>;
using Tier = std::optional<std::string>;
using Optional = std::optional<py::array>;

constexpr std::int64_t kMaxReduction = 131071;  // 131,071 * 128 * 128 < 2^31
constexpr std::int64_t kLargest = 2147483647;   // strides and the like; their products stay far inside int64
constexpr double kMaxRatio = 1048576.0;         // 2^20

inline void require(bool condition, const std::string& message) {
  if (!condition) throw std::invalid_argument(message);
}

inline Shape shape_of(const py::array& array) {
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

inline const Shape& rank(const Shape& shape, const char* name, std::size_t dimensions) {
  require(shape.size() == dimensions, std::string(name) + " has the wrong number of dimensions");
  return shape;
}

inline extent pair(const Pair& values, const char* name, std::int64_t least) {
  for (const std::int64_t value : values)
    require(value >= least && value <= kLargest, std::string(name) + " is out of range");
  return {values[0], values[1]};
}

inline bounds limit(int lo, int hi) {
  require(-128 <= lo && lo <= hi && hi <= 127, "lo and hi must satisfy -128 <= lo <= hi <= 127");
  return {lo, hi};
}

inline void require_reduction(std::int64_t fan_in) {
  require(fan_in <= kMaxReduction, "a reduction over more than 131,071 values does not fit int32");
}

inline extent windows(extent in, extent kernel, extent stride, extent padding, extent dilation, bool ceil_mode) {
  const extent out = {window_count(in.height, kernel.height, stride.height, padding.height, dilation.height, ceil_mode),
                      window_count(in.width, kernel.width, stride.width, padding.width, dilation.width, ceil_mode)};
  require(out.height >= 1 && out.width >= 1, "no window fits the input");
  return out;
}

inline double normal(double value, const char* name) {
  constexpr double kLeast = 1.17549435082228750797e-38, kMost = 3.40282346638528859812e+38;  // of float32
  require(value >= kLeast && value <= kMost, std::string(name) + " is not a normal positive float32");
  return value;
}

// x seen as [outer, channels, inner].
struct Split {
  std::int64_t outer, channels, inner;
};

inline Split split(const py::array& x, std::int64_t axis) {
  require(-x.ndim() <= axis && axis < x.ndim(), "axis is out of range");
  const py::ssize_t at = axis < 0 ? axis + x.ndim() : axis;
  Split result = {1, x.shape(at), 1};
  for (py::ssize_t i = 0; i < at; ++i) result.outer *= x.shape(i);
  for (py::ssize_t i = at + 1; i < x.ndim(); ++i) result.inner *= x.shape(i);
  return result;
}

// The same with the scale that belongs to each channel.
struct Channels {
  const float* scale;
  std::int64_t outer, channels, inner;
};

inline Channels channels_of(const py::array& x, const py::array& scale, Axis axis) {
  if (!axis) {
    require(scale.ndim() <= 1 && scale.size() == 1, "scale must hold one value");
    return {input<float>(scale, "scale", shape_of(scale)), 1, 1, x.size()};
  }
  const Split by = split(x, *axis);
  return {input<float>(scale, "scale", {by.channels}), by.outer, by.channels, by.inner};
}

// How a and b make one shape, trailing dimensions aligned.
inline broadcast joined(Shape a, Shape b, Shape& result) {
  require(a.size() <= kMaxDims && b.size() <= kMaxDims, "a and b may have at most 8 dimensions");
  const std::size_t dims = a.size() > b.size() ? a.size() : b.size();
  a.insert(a.begin(), dims - a.size(), 1);
  b.insert(b.begin(), dims - b.size(), 1);
  result.assign(dims, 0);
  broadcast shape = {};
  shape.dims = static_cast<int>(dims);
  std::int64_t step_a = 1, step_b = 1;
  for (std::size_t d = dims; d-- > 0;) {
    require(a[d] == b[d] || a[d] == 1 || b[d] == 1, "a and b do not broadcast");
    result[d] = shape.size[d] = a[d] == 1 ? b[d] : a[d];
    shape.step_a[d] = a[d] == 1 ? 0 : step_a;
    shape.step_b[d] = b[d] == 1 ? 0 : step_b;
    step_a *= a[d];
    step_b *= b[d];
  }
  if (a == b) shape = {1, {step_a}, {1}, {1}, {1}};  // one long row
  if (dims == 0) shape = {1, {1}, {0}, {0}, {1}};
  set_dense(shape);
  return shape;
}

template <class Args>
void launch(const Args& args, const Tier& isa) {
  py::gil_scoped_release release;
  run(args, isa);
}

}  // namespace edgekit
