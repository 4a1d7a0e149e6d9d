// GRU and LSTM: every number of units around the blocks of the product, batches that parts share, both directions.
#include <utility>

#include "check.h"

namespace edgekit::test {

namespace {

// What both layers have: parts of the input by gate, the first state, the weight.
struct Layer {
  std::int64_t steps, batch, units, size;
  bool extreme;
  std::vector<Guarded*> inputs;  // of activations, h0 last
  Weights weight;
  std::vector<std::int8_t> tables;
  bool reverse;

  Layer(int gates, std::int64_t steps, std::int64_t batch, std::int64_t units, bool extreme)
      : steps(steps),
        batch(batch),
        units(units),
        size(steps * batch * units),
        extreme(extreme),
        weight(gates * units, units, extreme),
        tables((gates + 1) * 256),
        reverse(draw() & 1) {
    const bool end = draw() & 1;
    for (int gate = 0; gate < gates; ++gate) inputs.push_back(new Guarded(size, 0, end));
    inputs.push_back(new Guarded(batch * units, 0, end));
    for (std::size_t i = 0; i < inputs.size(); ++i) fill(inputs[i]->bytes(), bytes_of(i), extreme);
    fill(tables.data(), static_cast<std::int64_t>(tables.size()), extreme);
  }
  ~Layer() {
    for (Guarded* one : inputs) delete one;
  }
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  std::int64_t bytes_of(std::size_t input) const { return input + 1 == inputs.size() ? batch * units : size; }
  const std::int8_t* input(std::size_t index) const { return inputs[index]->bytes(); }
  void turn(std::uint8_t by) {
    for (std::size_t i = 0; i < inputs.size(); ++i) flip(inputs[i]->bytes(), bytes_of(i), by);
  }
  std::string text(unsigned parts) const {
    return std::to_string(steps) + "x" + std::to_string(batch) + "x" + std::to_string(units) + " in " +
           std::to_string(parts) + " parts" + (reverse ? ", backwards" : "");
  }
};

float some_ratio() {
  const float odd[] = {1.0f, 0.5f, 9.5367431640625e-07f, 1048576.0f};
  return draw() % 6 ? static_cast<float>(draw(1, 4000)) / 2048.0f : odd[draw() % 4];
}

template <class Ratios>
Ratios some_ratios() {
  float values[sizeof(Ratios) / sizeof(float)];
  for (float& one : values) one = some_ratio();
  Ratios result;
  std::memcpy(&result, values, sizeof result);
  return result;
}

std::uint8_t some_flip(const Kernel& kernel) {
  return kernel.flags & kFlips && draw() & 1 ? 0x80 : 0;
}

void gru_layer(const Kernel& kernel, Layer&& own) {
  std::vector<std::int8_t> want(own.size);
  Guarded y(own.size, 0, draw() & 1);
  gru_ratios ratios = some_ratios<gru_ratios>();
  if (!own.extreme) ratios.reset = ratios.new_product = ratios.old_product = 1.0f / 127;
  gru_s8_args args = {own.input(0),
                      own.input(1),
                      own.input(2),
                      own.input(3),
                      own.weight.weight.data(),
                      own.weight.bias.data(),
                      own.weight.multiplier.data(),
                      own.tables.data(),
                      want.data(),
                      own.steps,
                      own.batch,
                      own.units,
                      ratios,
                      own.reverse,
                      0,
                      nullptr};
  run_parts(reference<gru_s8_args>(), args, 1);
  args.flip = some_flip(kernel);
  own.turn(args.flip);
  args.out = y.bytes();
  const unsigned parts = parts_of(kernel);
  run_parts(kernel, args, parts);
  flip(y.bytes(), own.size, args.flip);
  verdict(kernel, std::equal(want.begin(), want.end(), y.bytes()), own.text(parts));
}

void lstm_layer(const Kernel& kernel, Layer&& own) {
  const std::int64_t states = own.batch * own.units;
  std::vector<std::int8_t> want(own.size);
  std::vector<float> cells(states);
  Guarded y(own.size, 0, draw() & 1), c0(states * 4, 0, true), cell(states * 4, 0, true);
  const float odd[] = {1e38f, -1e38f, __builtin_inff(), __builtin_nanf(""), 1e-40f};
  auto* first = reinterpret_cast<float*>(c0.bytes());
  for (std::int64_t i = 0; i < states; ++i)
    first[i] = draw() % 9 ? static_cast<float>(draw(-40000, 40000)) / 1024.0f : odd[draw() % 5];
  lstm_ratios ratios = some_ratios<lstm_ratios>();
  if (!own.extreme) {
    ratios.forget = 1.0f / 127;
    ratios.write = 2.0f;
    ratios.squash = ratios.output = 1.0f / 127;
    ratios.cell_scale = 1.0f / 1024;
  }
  lstm_s8_args args = {own.input(0),
                       own.input(1),
                       own.input(2),
                       own.input(3),
                       own.input(4),
                       first,
                       own.weight.weight.data(),
                       own.weight.bias.data(),
                       own.weight.multiplier.data(),
                       own.tables.data(),
                       want.data(),
                       cells.data(),
                       own.steps,
                       own.batch,
                       own.units,
                       ratios,
                       own.reverse,
                       0,
                       nullptr};
  run_parts(reference<lstm_s8_args>(), args, 1);
  args.flip = some_flip(kernel);
  own.turn(args.flip);
  args.out = y.bytes();
  args.cell_out = reinterpret_cast<float*>(cell.bytes());
  const unsigned parts = parts_of(kernel);
  run_parts(kernel, args, parts);
  flip(y.bytes(), own.size, args.flip);
  verdict(kernel,
          std::equal(want.begin(), want.end(), y.bytes()) && !std::memcmp(cells.data(), cell.bytes(), states * 4),
          own.text(parts));
}

template <class Check>
void layers(int gates, Sweep sweep, Check check) {
  const std::int64_t stride = sweep == Sweep::reduced ? 5 : 1;
  for (std::int64_t units = 1; units <= 70; units += stride)
    for (std::int64_t batch = 1; batch <= 15; batch += 2)
      check(Layer(gates, draw(0, 4), batch, units, (units + batch) % 5 == 0));
  check(Layer(gates, 3, 2, 517, false));  // a weight that does not stay in a cache
}

}  // namespace

void gru_layers(const Kernel& kernel, Sweep sweep) {
  layers(3, sweep, [&](Layer&& own) { gru_layer(kernel, std::move(own)); });
}

void lstm_layers(const Kernel& kernel, Sweep sweep) {
  layers(4, sweep, [&](Layer&& own) { lstm_layer(kernel, std::move(own)); });
}

}  // namespace edgekit::test
