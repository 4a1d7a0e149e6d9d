// The part of edgekit._C for products that are not one int8 layer: attention, and a layer that quantises its own rows.
// Rules: bind.cc.
#include <cstdint>
#include <vector>

#include "bind.h"
#include "ops_sequences.h"

using namespace pybind11::literals;

namespace edgekit {

namespace {

std::int64_t count(const Shape& shape) {
  std::int64_t total = 1;
  for (const py::ssize_t size : shape) total *= size;
  return total;
}

// A shape of matrices without their last two dimensions.
Shape batch_of(const Shape& shape, const char* name) {
  require(shape.size() >= 2 && shape.size() <= 2 + kMaxDims, std::string(name) + " must have 2 to 10 dimensions");
  return Shape(shape.begin(), shape.end() - 2);
}

// The shape that two make, trailing dimensions aligned.
Shape together(const Shape& a, const Shape& b) {
  Shape result;
  joined(a, b, result);
  return result;
}

// Where the dense matrix lies that broadcasts to the one with this number in a batch of this shape.
std::int64_t place(const Shape& own, const Shape& batch, std::int64_t number, std::int64_t matrix) {
  std::int64_t offset = 0, step = matrix;
  for (std::size_t i = batch.size(), j = own.size(); j > 0;) {
    const std::int64_t index = number % batch[--i];
    number /= batch[i];
    if (own[--j] != 1) offset += index * step;
    step *= own[j];
  }
  return offset;
}

void attention_s8(const py::array& q, const py::array& k, const py::array& v, double score_multiplier,
                  const py::array& table, double softmax_scale, double multiplier, const Optional& mask, py::array out,
                  const Tier& isa) {
  const Shape of_q = shape_of(q), of_k = shape_of(k), of_v = shape_of(v);
  const Shape q_batch = batch_of(of_q, "q"), k_batch = batch_of(of_k, "k"), v_batch = batch_of(of_v, "v");
  const std::int64_t queries = of_q.end()[-2], depth = of_q.back(), keys = of_k.end()[-2], values = of_v.back();
  require(of_k.back() == depth && of_v.end()[-2] == keys, "q, k and v do not fit");
  require(keys >= 1, "there must be one key at least");
  require_reduction(depth);
  require_reduction(keys);
  const Shape scores = together(q_batch, k_batch), batch = together(scores, v_batch);
  Shape of_mask = mask ? shape_of(*mask) : Shape{};
  while (of_mask.size() < 2) of_mask.insert(of_mask.begin(), 1);
  const std::int64_t mask_rows = of_mask.end()[-2], mask_keys = of_mask.back();
  const Shape mask_batch = batch_of(of_mask, "mask");
  require((mask_rows == 1 || mask_rows == queries) && (mask_keys == 1 || mask_keys == keys) &&
              together(mask_batch, scores) == scores,
          "mask does not broadcast to the scores");
  std::vector<attention_s8_args::place> places;
  for (std::int64_t i = 0; i < count(batch); ++i) {
    places.push_back({place(q_batch, batch, i, queries * depth), place(k_batch, batch, i, keys * depth),
                      place(v_batch, batch, i, keys * values), place(mask_batch, batch, i, mask_rows * mask_keys)});
  }
  Shape result = batch;
  result.insert(result.end(), {queries, values});
  launch(
      attention_s8_args{
          input<std::int8_t>(q, "q", of_q), input<std::int8_t>(k, "k", of_k), input<std::int8_t>(v, "v", of_v),
          input<std::int32_t>(table, "table", {256}),
          mask ? reinterpret_cast<const std::uint8_t*>(input<bool>(*mask, "mask", shape_of(*mask))) : nullptr,
          places.data(), output<std::int8_t>(out, result), count(batch), queries, keys, depth, values,
          mask_rows == 1 ? 0 : mask_keys, mask_keys == 1 ? 0 : 1,
          static_cast<float>(normal(score_multiplier, "score_multiplier")),
          static_cast<float>(normal(multiplier, "multiplier")), normal(softmax_scale, "softmax_scale")},
      isa);
}

void linear_dynamic(const py::array& x, const py::array& weight, const py::array& weight_scale, const Optional& bias,
                    py::array out, const Tier& isa) {
  const Shape filters = rank(shape_of(weight), "weight", 2), shape = shape_of(x);
  require(!shape.empty() && shape.back() == filters[1], "x and weight have different fan-in");
  require(filters[1] >= 1, "there must be one input at least");
  require_reduction(filters[1]);
  Shape result = shape;
  result.back() = filters[0];
  launch(linear_dynamic_args{input<float>(x, "x", shape), input<std::int8_t>(weight, "weight", filters),
                             input<float>(weight_scale, "weight_scale", {filters[0]}),
                             bias ? input<float>(*bias, "bias", {filters[0]}) : nullptr, output<float>(out, result),
                             count(Shape(shape.begin(), shape.end() - 1)), filters[1], filters[0]},
         isa);
}

}  // namespace

void bind_products(py::module_& m) {
  const py::kw_only kw;
  const auto out = "out"_a;
  const auto isa = "isa"_a = py::none();
  m.def("attention_s8", &attention_s8, "q"_a, "k"_a, "v"_a, "score_multiplier"_a, "table"_a, "softmax_scale"_a,
        "multiplier"_a, "mask"_a = py::none(), kw, out, isa);
  m.def("linear_dynamic", &linear_dynamic, "x"_a, "weight"_a, "weight_scale"_a, "bias"_a = py::none(), kw, out, isa);
}

}  // namespace edgekit
