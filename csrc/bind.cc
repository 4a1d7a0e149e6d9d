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
void bind_products(py::module_& m);   // bind_products.cc
void bind_engine(py::module_& m);     // bind_engine.cc
void bind_peak(py::module_& m);       // bind_peak.cc

namespace {

// x as quantize_s8 sees it; one scale makes one long row of it.
axes rows_of(const Channels& by) {
  if (by.channels == 1) return {1, {by.outer * by.inner}, {1}};
  return {3, {by.outer, by.channels, by.inner}, {by.channels * by.inner, by.inner, 1}};
}

void quantize_s8(const py::array& x, const py::array& scale, Axis axis, int lo, int hi, py::array out,
                 const Tier& isa) {
  const Shape shape = shape_of(x);
  const Channels by = channels_of(x, scale, axis);
  launch(quantize_s8_args{input<float>(x, "x", shape), by.scale, output<std::int8_t>(out, shape), rows_of(by),
                          by.channels, limit(lo, hi), 0},
         isa);
}

void dequantize(const py::array& x, const py::array& scale, Axis axis, py::array out, const Tier& isa) {
  const Shape shape = shape_of(x);
  const Channels by = channels_of(x, scale, axis);
  const bool bytes = x.itemsize() == 1;
  launch(dequantize_args{bytes ? input<std::int8_t>(x, "x", shape) : nullptr,
                         bytes ? nullptr : input<std::int32_t>(x, "x", shape), by.scale, output<float>(out, shape),
                         by.outer, by.channels, by.inner, 0},
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

void fake_quantize_backward(const py::array& gradient, const py::array& x, const py::array& scale, Axis axis, int lo,
                            int hi, bool learned, const std::vector<py::array>& out, const Tier& isa) {
  require(out.size() == 2, "out must hold two arrays");
  py::array of_x = out[0], of_scale = out[1];
  const Shape shape = shape_of(x);
  const Channels by = channels_of(x, scale, axis);
  float* slope = output<float>(of_scale, learned ? shape_of(scale) : Shape{0});
  launch(fake_quantize_backward_args{input<float>(gradient, "gradient", shape), input<float>(x, "x", shape), by.scale,
                                     output<float>(of_x, shape), learned ? slope : nullptr, by.outer, by.channels,
                                     by.inner, limit(lo, hi)},
         isa);
}

void group_scores(const py::array& weight, std::int64_t axis, const std::vector<py::array>& out, const Tier& isa) {
  require(out.size() == 2, "out must hold two arrays");
  py::array magnitudes = out[0], squares = out[1];
  const Split by = split(weight, axis);
  launch(group_scores_args{input<float>(weight, "weight", shape_of(weight)), output<float>(magnitudes, {by.channels}),
                           output<float>(squares, {by.channels}), by.outer, by.channels, by.inner},
         isa);
}

void observe(const py::array& x, const std::vector<py::array>& out, const Tier& isa) {
  require(out.size() == 3, "out must hold three arrays");
  py::array extremes = out[0], tally = out[1], histogram = out[2];
  launch(observe_args{input<float>(x, "x", shape_of(x)), output<float>(extremes, {2}), output<std::int64_t>(tally, {3}),
                      output<std::int64_t>(histogram, {kObserveBins}), x.size()},
         isa);
}

float ratio_of(double value) {
  const double magnitude = value < 0 ? -value : value;
  require(magnitude >= 1 / kMaxRatio && magnitude <= kMaxRatio, "a ratio lies outside [2^-20, 2^20]");
  return static_cast<float>(value);
}

residual added(const Optional& x, double ratio, double x_ratio, bool first, int lo, int hi, const Shape& shape,
               const steps& step) {
  if (!x) return {};
  return {input<std::int8_t>(*x, "residual", shape), step, ratio_of(ratio), ratio_of(x_ratio), first, limit(lo, hi)};
}

// What a table makes of a result, in its place. Not every tier has a kernel for that.
void look_up(const Optional& table, py::array& out, const Shape& shape, const Tier& isa) {
  if (!table) return;
  auto* x = output<std::int8_t>(out, shape);
  const std::int64_t count = out.size();
  launch(lut_s8_args{x, input<std::int8_t>(*table, "table", {256}), x, 1, 1, count, count, count, 0},
         isa == name(Isa::ref) ? isa : std::nullopt);
}

void linear_s8(const py::array& x, const py::array& weight, const py::array& bias, const py::array& multiplier, int lo,
               int hi, const Optional& residual, double ratio, double residual_ratio, bool residual_first, int sum_lo,
               int sum_hi, const Optional& table, py::array out, const Tier& isa) {
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
                        filters[1], filters[0], limit(lo, hi),
                        added(residual, ratio, residual_ratio, residual_first, sum_lo, sum_hi, result,
                              {0, 1, static_cast<std::int64_t>(filters[0]), 0}),
                        0, nullptr},
         isa);
  look_up(table, out, result, isa);
}

void conv2d_s8(const py::array& x, const py::array& weight, const py::array& bias, const py::array& multiplier,
               const Pair& stride, const Pair& padding, const Pair& dilation, std::int64_t groups, int lo, int hi,
               const Optional& residual, double ratio, double residual_ratio, bool residual_first, int sum_lo,
               int sum_hi, const Optional& table, py::array out, const Tier& isa) {
  const Shape image = rank(shape_of(x), "x", 4), filters = rank(shape_of(weight), "weight", 4);
  require(1 <= groups && groups <= kLargest && filters[0] >= 1 && filters[0] % groups == 0, "groups must divide O");
  require(filters[1] >= 1 && filters[2] >= 1 && filters[3] >= 1, "weight is empty");
  require(image[1] % groups == 0 && image[1] / groups == filters[1], "x and weight have different channels");
  require_reduction(filters[1] * filters[2] * filters[3]);
  const extent in = {image[2], image[3]}, kernel = {filters[2], filters[3]}, step = pair(stride, "stride", 1);
  const extent pad = pair(padding, "padding", 0), spread = pair(dilation, "dilation", 1);
  const extent size = windows(in, kernel, step, pad, spread, false);
  const Shape result = {image[0], filters[0], size.height, size.width};
  launch(conv2d_s8_args{input<std::int8_t>(x, "x", image),
                        channels_first(image[1], in),
                        input<std::int8_t>(weight, "weight", filters),
                        channels_first(filters[1], kernel),
                        input<std::int32_t>(bias, "bias", {filters[0]}),
                        input<float>(multiplier, "multiplier", {filters[0]}),
                        output<std::int8_t>(out, result),
                        channels_first(filters[0], size),
                        image[0],
                        image[1],
                        filters[0],
                        groups,
                        in,
                        size,
                        kernel,
                        step,
                        pad,
                        spread,
                        limit(lo, hi),
                        added(residual, ratio, residual_ratio, residual_first, sum_lo, sum_hi, result,
                              channels_first(filters[0], size)),
                        0,
                        nullptr},
         isa);
  look_up(table, out, result, isa);
}

void add_s8(const py::array& a, const py::array& b, double ratio_a, double ratio_b, int lo, int hi, py::array out,
            const Tier& isa) {
  const Shape first = shape_of(a), second = shape_of(b);
  Shape result;
  const broadcast shape = joined(first, second, result);
  launch(add_s8_args{input<std::int8_t>(a, "a", first), input<std::int8_t>(b, "b", second),
                     output<std::int8_t>(out, result), shape, ratio_of(ratio_a), ratio_of(ratio_b), limit(lo, hi), 0},
         isa);
}

void mul_s8(const py::array& a, const py::array& b, double multiplier, int lo, int hi, py::array out, const Tier& isa) {
  const Shape first = shape_of(a), second = shape_of(b);
  Shape result;
  const broadcast shape = joined(first, second, result);
  launch(mul_s8_args{input<std::int8_t>(a, "a", first), input<std::int8_t>(b, "b", second),
                     output<std::int8_t>(out, result), shape, static_cast<float>(normal(multiplier, "multiplier")),
                     limit(lo, hi), 0},
         isa);
}

void matmul_s8(const py::array& a, const py::array& b, double multiplier, int lo, int hi, py::array out,
               const Tier& isa) {
  const Shape first = shape_of(a), second = shape_of(b);
  require(first.size() >= 2 && second.size() >= 2, "a and b must have two dimensions at least");
  const std::size_t rows = first.size() - 2, inner = second.size() - 2;
  require(first[rows + 1] == second[inner], "a and b have different fan-in");
  require_reduction(second[inner]);
  Shape result;
  const broadcast batch =
      joined(Shape(first.begin(), first.end() - 2), Shape(second.begin(), second.end() - 2), result);
  result.insert(result.end(), {first[rows], second[inner + 1]});
  launch(matmul_s8_args{input<std::int8_t>(a, "a", first), input<std::int8_t>(b, "b", second),
                        output<std::int8_t>(out, result), batch, first[rows], second[inner], second[inner + 1],
                        static_cast<float>(normal(multiplier, "multiplier")), limit(lo, hi), 0},
         isa);
}

void sum_s8(const py::array& x, const std::vector<std::int64_t>& dim, bool keepdim, bool mean, double input_scale,
            double output_scale, int lo, int hi, py::array out, const Tier& isa) {
  const Shape shape = shape_of(x);
  require(shape.size() <= kMaxDims, "x may have at most 8 dimensions");
  std::vector<bool> gone(shape.size(), false);
  for (const std::int64_t d : dim) {
    const std::int64_t at = d < 0 ? d + x.ndim() : d;
    require(at >= 0 && at < x.ndim() && !gone[at], "dim is out of range or named twice");
    gone[at] = true;
  }
  sum_s8_args args = {input<std::int8_t>(x, "x", shape), nullptr, {}, {}, 0, limit(lo, hi), 0};
  Shape result;
  std::int64_t step = x.size(), count = 1;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    step = shape[d] ? step / shape[d] : 0;
    axes& side = gone[d] ? args.reduced : args.kept;
    side.size[side.dims] = shape[d];
    side.step[side.dims++] = step;
    if (gone[d]) count *= shape[d];
    if (!gone[d] || keepdim) result.push_back(gone[d] ? 1 : shape[d]);
  }
  normal(input_scale, "input_scale");
  normal(output_scale, "output_scale");
  require(count >= 1 && count < (1 << 24), "a sum needs one value at least and fewer than 2^24");
  const float divisor = (mean ? static_cast<float>(count) : 1.0f) * static_cast<float>(output_scale);
  args.multiplier = static_cast<float>(input_scale) / divisor;
  args.out = output<std::int8_t>(out, result);
  launch(args, isa);
}

void lut_s8(const py::array& x, const py::array& table, Axis axis, py::array out, const Tier& isa) {
  const Shape shape = shape_of(x);
  Shape tables = {256};
  Split by = {1, 1, x.size()};
  if (axis) {
    by = split(x, *axis);
    tables = {by.channels, 256};
  }
  launch(lut_s8_args{input<std::int8_t>(x, "x", shape), input<std::int8_t>(table, "table", tables),
                     output<std::int8_t>(out, shape), by.outer, by.channels, by.inner, by.channels * by.inner,
                     by.channels * by.inner, 0},
         isa);
}

// Rows or columns of a transposed convolution, as torch counts them.
std::int64_t grown(std::int64_t in, std::int64_t kernel, std::int64_t stride, std::int64_t padding, std::int64_t more,
                   std::int64_t dilation) {
  require(more < stride || more < dilation, "output_padding must be below stride or dilation");
  const std::int64_t size = (in - 1) * stride - 2 * padding + dilation * (kernel - 1) + more + 1;
  require(size >= 1, "the output is empty");
  return size;
}

void conv_transpose2d_s8(const py::array& x, const py::array& weight, const py::array& bias,
                         const py::array& multiplier, const Pair& stride, const Pair& padding,
                         const Pair& output_padding, std::int64_t groups, const Pair& dilation, int lo, int hi,
                         py::array out, const Tier& isa) {
  const Shape image = rank(shape_of(x), "x", 4), filters = rank(shape_of(weight), "weight", 4);
  require(1 <= groups && groups <= kLargest && filters[0] >= 1 && filters[0] % groups == 0, "groups must divide I");
  require(filters[1] >= 1 && filters[2] >= 1 && filters[3] >= 1, "weight is empty");
  require(image[1] == filters[0] && image[2] >= 1 && image[3] >= 1, "x and weight have different channels");
  require_reduction(filters[0] / groups * filters[2] * filters[3]);
  const extent in = {image[2], image[3]}, kernel = {filters[2], filters[3]}, step = pair(stride, "stride", 1);
  const extent pad = pair(padding, "padding", 0), more = pair(output_padding, "output_padding", 0);
  const extent spread = pair(dilation, "dilation", 1);
  const extent size = {grown(in.height, kernel.height, step.height, pad.height, more.height, spread.height),
                       grown(in.width, kernel.width, step.width, pad.width, more.width, spread.width)};
  const std::int64_t channels = filters[1] * groups;
  launch(conv_transpose2d_s8_args{input<std::int8_t>(x, "x", image), channels_first(image[1], in),
                                  input<std::int8_t>(weight, "weight", filters),
                                  input<std::int32_t>(bias, "bias", {channels}),
                                  input<float>(multiplier, "multiplier", {channels}),
                                  output<std::int8_t>(out, {image[0], channels, size.height, size.width}),
                                  channels_first(channels, size), image[0], image[1], channels, groups, in, size,
                                  kernel, step, pad, spread, limit(lo, hi)},
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
  launch(avg_pool_s8_args{input<std::int8_t>(x, "x", image), channels_first(image[1], in),
                          input<float>(multiplier, "multiplier", {taps.height * taps.width + 1}),
                          output<std::int8_t>(out, {image[0], image[1], size.height, size.width}),
                          channels_first(image[1], size), image[0], image[1], in, size, taps, step, pad,
                          count_include_pad, limit(lo, hi), 0},
         isa);
}

void max_pool_s8(const py::array& x, const Pair& kernel, const Pair& stride, const Pair& padding, const Pair& dilation,
                 bool ceil_mode, py::array out, const Tier& isa) {
  const Shape image = rank(shape_of(x), "x", 4);
  const extent in = {image[2], image[3]}, taps = pair(kernel, "kernel", 1), step = pair(stride, "stride", 1);
  const extent pad = pair(padding, "padding", 0), spread = pair(dilation, "dilation", 1);
  require_half(pad, taps);
  const extent size = windows(in, taps, step, pad, spread, ceil_mode);
  launch(max_pool_s8_args{input<std::int8_t>(x, "x", image), channels_first(image[1], in),
                          output<std::int8_t>(out, {image[0], image[1], size.height, size.width}),
                          channels_first(image[1], size), image[0], image[1], in, size, taps, step, pad, spread, 0},
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
  m.def("fake_quantize_backward", &fake_quantize_backward, "gradient"_a, x, "scale"_a, axis, lo, hi,
        "of_scale"_a = true, kw, out, isa);
  m.def("group_scores", &group_scores, "weight"_a, "axis"_a, kw, out, isa);
  m.def("observe", &observe, x, kw, out, isa);
  const auto residual = "residual"_a = py::none(), ratio = "ratio"_a = 1.0, residual_ratio = "residual_ratio"_a = 1.0;
  const auto first = "residual_first"_a = false, sum_lo = "sum_lo"_a = -128, sum_hi = "sum_hi"_a = 127;
  const auto table_after = "table"_a = py::none();
  m.def("linear_s8", &linear_s8, x, "weight"_a, "bias"_a, "multiplier"_a, lo, hi, residual, ratio, residual_ratio,
        first, sum_lo, sum_hi, table_after, kw, out, isa);
  m.def("conv2d_s8", &conv2d_s8, x, "weight"_a, "bias"_a, "multiplier"_a, stride, padding, "dilation"_a, "groups"_a, lo,
        hi, residual, ratio, residual_ratio, first, sum_lo, sum_hi, table_after, kw, out, isa);
  m.def("add_s8", &add_s8, "a"_a, "b"_a, "ratio_a"_a, "ratio_b"_a, lo, hi, kw, out, isa);
  m.def("mul_s8", &mul_s8, "a"_a, "b"_a, "multiplier"_a, lo, hi, kw, out, isa);
  m.def("matmul_s8", &matmul_s8, "a"_a, "b"_a, "multiplier"_a, lo, hi, kw, out, isa);
  m.def("sum_s8", &sum_s8, x, "dim"_a, "keepdim"_a, "mean"_a, "input_scale"_a, "output_scale"_a, lo, hi, kw, out, isa);
  m.def("conv_transpose2d_s8", &conv_transpose2d_s8, x, "weight"_a, "bias"_a, "multiplier"_a, stride, padding,
        "output_padding"_a, "groups"_a, "dilation"_a, lo, hi, kw, out, isa);
  m.def("lut_s8", &lut_s8, x, "table"_a, axis, kw, out, isa);
  m.def("avg_pool_s8", &avg_pool_s8, x, "multiplier"_a, kernel, stride, padding, "ceil_mode"_a, "count_include_pad"_a,
        lo, hi, kw, out, isa);
  m.def("max_pool_s8", &max_pool_s8, x, kernel, stride, padding, "dilation"_a, "ceil_mode"_a, kw, out, isa);
  m.def("kernels", &table, "The rows of csrc/kernels.def, and whether this machine runs each.");
  m.def("isa_flags", &available_isas, "The instruction sets that kernels may use on this machine, the plainest first.");
  bind_sequences(m);
  bind_products(m);
  bind_engine(m);
  bind_peak(m);
}
