// Every fast kernel of kernels.def that this machine runs against `ref`, by the byte: all small products, convolutions
// of every kind, every number of parts, between guard pages, at extremes. Native, and under an emulator of another
// machine.
//
//   kernels_test [--isa ISA] [--op OPERATOR] [--full | --reduced]
//
// --full: all 299,520 products up to 48 x 48 x 130; --reduced: fewer shapes, for emulators and sanitizers.
#include <cstdio>
#include <cstring>
#include <string>

#include "check.h"

namespace {

using Check = void (*)(const edgekit::Kernel&, edgekit::test::Sweep);

Check check_of(const std::string& op) {
  using namespace edgekit::test;
  if (op == "linear_s8") return products;
  if (op == "matmul_s8") return matrices;
  if (op == "conv2d_s8") return convolutions;
  if (op == "avg_pool_s8") return average_pools;
  if (op == "max_pool_s8") return largest_pools;
  if (op == "add_s8") return additions;
  if (op == "mul_s8") return multiplications;
  if (op == "sum_s8") return sums;
  if (op == "lut_s8") return tables;
  if (op == "quantize_s8") return quantisations;
  if (op == "fake_quantize") return fake_quantisations;
  if (op == "fake_quantize_backward") return fake_quantisation_gradients;
  if (op == "softmax_s8") return softmaxes;
  if (op == "layer_norm_s8") return layer_norms;
  if (op == "rms_norm_s8") return rms_norms;
  if (op == "l2_norm_s8") return l2_norms;
  if (op == "group_norm_s8") return group_norms;
  if (op == "gru_s8") return gru_layers;
  if (op == "lstm_s8") return lstm_layers;
  return nullptr;
}

}  // namespace

int main(int count, char** words) {
  using namespace edgekit;
  std::string isa, op;
  test::Sweep sweep = test::Sweep::usual;
  for (int i = 1; i < count; ++i) {
    if (!std::strcmp(words[i], "--full")) sweep = test::Sweep::full;
    if (!std::strcmp(words[i], "--reduced")) sweep = test::Sweep::reduced;
    if (!std::strcmp(words[i], "--isa") && i + 1 < count) isa = words[i + 1];
    if (!std::strcmp(words[i], "--op") && i + 1 < count) op = words[i + 1];
  }
  int tested = 0;
  for (const Kernel& kernel : kernels()) {
    if (!std::strcmp(kernel.op, "observe")) continue;  // of tensors of floats; tests/test_observe.py has it
    const bool wanted = isa.empty() ? kernel.isa != Isa::ref || (kernel.flags & kParts) : isa == name(kernel.isa);
    if (!op.empty() && op != kernel.op) continue;
    if (!wanted || !(isa_flags() & bit(kernel.isa))) continue;
    const Check check = check_of(kernel.op);
    if (!check) {
      if (kernel.isa == Isa::ref) continue;
      std::printf("NOT CHECKED %s\n", kernel.function);
      return 1;
    }
    const long before = test::checked;
    check(kernel, sweep);
    std::printf("%s: %ld checks\n", kernel.function, test::checked - before);
    ++tested;
  }
  std::printf("%d kernels, %ld checks, %ld wrong\n", tested, test::checked, test::wrong);
  return test::wrong || (!isa.empty() && !tested) ? 1 : 0;
}
