// edgekit._C: the operators over numpy arrays. Only it, bind_sequences.cc and bind.h know Python.
//
// Each function has the operator's name and arguments, then the keywords `out`, which it fills, and `isa`, which forces
// a tier. Whatever is passed, nothing is read or written out of bounds: dtype, layout, rank and every size are checked
// here, and anything wrong is a ValueError. edgekit/ops checks first and says more.
#include "bind.h"

#include <cstdint>
#include <string>
#include <vector>

using namespace pybind11::literals;

namespace edgekit {

void bind_sequences(py::module_& m);  // bind_sequences.cc

namespace {

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
  bind_sequences(m);
}
