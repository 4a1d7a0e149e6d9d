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

// x seen as [outer, channels, inner], and the scale that belongs to it.
struct Channels {
  const float* scale;
  std::int64_t outer, channels, inner;
};

inline Channels channels_of(const py::array& x, const py::array& scale, Axis axis) {
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

}  // namespace edgekit
