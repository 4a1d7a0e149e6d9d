// Runs a model from C++: opens it, fills its inputs, runs, and prints the largest values of each output.
//
//   run_cpp MODEL.ekm [--in FILE]... [--threads N] [--self-test EXPECTED]
//
// --in          raw values of the next input; inputs without a file hold a fixed pattern
// --self-test   a file of the raw bytes of all outputs, one behind the other: anything else fails
#include <algorithm>
#include <cstring>
#include <edgekit.hpp>
#include <fstream>
#include <iostream>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

namespace {

using Bytes = std::vector<char>;

struct Command {
  std::string model, expected;
  std::vector<std::string> inputs;
  unsigned threads = 1;
};

std::size_t bytes_of(ek_type type) {
  constexpr std::size_t kBytes[] = {1, 1, 2, 4, 8, 4, 1};
  return kBytes[type];
}

template <class T>
T at(const Bytes& memory, std::size_t i) {
  T value;
  std::memcpy(&value, memory.data() + i * sizeof value, sizeof value);
  return value;
}

double value_at(const ek::tensor& about, const Bytes& memory, std::size_t i) {
  switch (about.type) {
    case EK_S8:
      return (about.scale > 0 ? about.scale : 1) * at<std::int8_t>(memory, i);
    case EK_S16:
      return at<std::int16_t>(memory, i);
    case EK_S32:
      return at<std::int32_t>(memory, i);
    case EK_S64:
      return static_cast<double>(at<std::int64_t>(memory, i));
    case EK_F32:
      return at<float>(memory, i);
    default:
      return at<std::uint8_t>(memory, i);
  }
}

// Floats from -2 to 2, bytes of every value, and 0 or 1 for what may be an index.
Bytes pattern(const ek::tensor& about) {
  Bytes memory(about.bytes);
  const std::size_t unit = bytes_of(about.type);
  for (std::size_t i = 0; i < about.bytes / unit; ++i) {
    const unsigned value = static_cast<unsigned>(i * 37 + 11) % 256;
    const float real = (static_cast<float>(value) - 128.0f) / 64.0f;
    const std::int64_t index = value % 2;  // its low bytes are the same number in a smaller type
    if (about.type == EK_F32) {
      std::memcpy(memory.data() + i * unit, &real, unit);
    } else if (about.type == EK_S8 || about.type == EK_U8) {
      memory[i] = static_cast<char>(value);
    } else {
      std::memcpy(memory.data() + i * unit, &index, unit);
    }
  }
  return memory;
}

Bytes read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open '" + path + "'");
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

void show(const ek::tensor& about, const Bytes& memory) {
  std::vector<std::size_t> order(about.elements());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto shown = order.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(3, order.size()));
  std::partial_sort(order.begin(), shown, order.end(), [&](std::size_t a, std::size_t b) {
    return value_at(about, memory, a) > value_at(about, memory, b);
  });
  std::cout << about.name << ':';
  for (auto i = order.begin(); i != shown; ++i) std::cout << "  [" << *i << "] " << value_at(about, memory, *i);
  std::cout << '\n';
}

int run(const Command& command) {
  const ek::model model(command.model);
  ek::context context(model, command.threads);
  std::vector<Bytes> inputs, outputs;
  for (const ek::tensor& about : model.inputs()) {
    const bool given = inputs.size() < command.inputs.size();
    inputs.push_back(given ? read(command.inputs[inputs.size()]) : pattern(about));
    if (inputs.back().size() != about.bytes)
      throw std::runtime_error(std::string("wrong size for input ") + about.name);
  }
  for (const ek::tensor& about : model.outputs()) outputs.emplace_back(about.bytes);
  // Types are known at run time only here; with types known, set_input<float>(0, pixels) is shorter.
  std::vector<const void*> from;
  std::vector<void*> to;
  for (const Bytes& one : inputs) from.push_back(one.data());
  for (Bytes& one : outputs) to.push_back(one.data());

  context.run(from.data(), to.data());

  Bytes all;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    show(model.outputs()[i], outputs[i]);
    all.insert(all.end(), outputs[i].begin(), outputs[i].end());
  }
  if (command.expected.empty()) return 0;
  const bool well = all == read(command.expected);
  std::cout << "self-test on " << model.isa() << ": " << (well ? "ok" : "FAILED") << '\n';
  return well ? 0 : 1;
}

}  // namespace

int main(int count, char** words) {
  Command command;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    const bool more = i + 1 < count;
    if (word == "--in" && more) {
      command.inputs.emplace_back(words[++i]);
    } else if (word == "--threads" && more) {
      command.threads = static_cast<unsigned>(std::stoul(words[++i]));
    } else if (word == "--self-test" && more) {
      command.expected = words[++i];
    } else {
      command.model = word;
    }
  }
  if (command.model.empty() || command.model[0] == '-') {
    std::cerr << "usage: " << words[0] << " MODEL.ekm [--in FILE]... [--threads N] [--self-test EXPECTED]\n";
    return 2;
  }
  try {
    return run(command);
  } catch (const std::exception& why) {
    std::cerr << command.model << ": " << why.what() << '\n';
    return 3;
  }
}
