// ekrun: runs a plan from the command line, on .npy files, and times it.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "../include/edgekit.h"
#include "npy.h"

namespace {

constexpr const char* kUsage =
    "usage: ekrun MODEL.ekm [--in X.npy]... [--out Y.npy]... [--bench] [--layers] [--runs N] [--threads N]\n"
    "             [--isa NAME] [--verbose]\n"
    "  --in, --out   one for each input and output, in order; without --in all inputs are 0\n"
    "  --bench       times runs, N of them or one second's worth\n"
    "  --layers      the time of each operation, its kernel, and why no faster one\n"
    "  --isa         ref, avx2, avx512vnni or neondot instead of the best\n"
    "  --verbose     what the library has to say of the model, such as which operations run in plain loops\n";

// The exit codes of the edgekit command.
enum exit_code { kOk = 0, kUsageError = 2, kBadInput = 3, kUnsupported = 4, kIntegrity = 6, kResources = 7 };

struct ended : std::runtime_error {
  ended(exit_code code, const std::string& message) : std::runtime_error(message), code(code) {}
  exit_code code;
};

exit_code code_of(ek_status status) {
  switch (status) {
    case EK_OK:
      return kOk;
    case EK_BAD_ARGUMENT:
      return kUsageError;
    case EK_UNSUPPORTED:
      return kUnsupported;
    case EK_NO_MEMORY:
      return kResources;
    case EK_BAD_FILE:
      return kIntegrity;
    default:
      return kBadInput;
  }
}

void check(const ek_error& error) {
  if (error.status != EK_OK) throw ended(code_of(error.status), error.message);
}

struct options {
  std::string model;
  std::vector<std::string> in, out;
  const char* isa = nullptr;
  unsigned threads = 1, runs = 0;
  bool bench = false, layers = false, verbose = false;
};

unsigned number(const char* text, const char* name) {
  char* end = nullptr;
  const unsigned long value = std::strtoul(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != 0 || value < 1 || value > 1000000000)
    throw ended(kUsageError, std::string(name) + " takes a number from 1 on, not '" + text + "'.");
  return static_cast<unsigned>(value);
}

options parsed(int count, char** arguments) {
  options own;
  for (int i = 1; i < count; ++i) {
    const std::string word = arguments[i];
    const auto next = [&] {
      if (++i == count) throw ended(kUsageError, word + " wants something behind it.\n" + kUsage);
      return arguments[i];
    };
    if (word == "--in") {
      own.in.push_back(next());
    } else if (word == "--out") {
      own.out.push_back(next());
    } else if (word == "--isa") {
      own.isa = next();
    } else if (word == "--threads") {
      own.threads = number(next(), "--threads");
    } else if (word == "--runs") {
      own.runs = number(next(), "--runs");
    } else if (word == "--bench") {
      own.bench = true;
    } else if (word == "--layers") {
      own.layers = true;
    } else if (word == "--verbose") {
      own.verbose = true;
    } else if (word[0] == '-' || !own.model.empty()) {
      throw ended(kUsageError, "'" + word + "' is not understood.\n" + kUsage);
    } else {
      own.model = word;
    }
  }
  if (own.model.empty()) throw ended(kUsageError, kUsage);
  return own;
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class runner {
 public:
  explicit runner(const options& own) {
    ek_model_options model = {};
    model.struct_size = sizeof model;
    model.isa = own.isa;
    if (own.verbose) model.log = [](void*, const char* message) { std::fprintf(stderr, "%s\n", message); };
    ek_error error;
    ek_model_open(own.model.c_str(), &model, &model_, &error);
    check(error);
    ek_context_options context = {};
    context.struct_size = sizeof context;
    context.threads = own.threads;
    ek_context_create(model_, &context, &context_, &error);
    if (error.status != EK_OK) ek_model_close(model_);
    check(error);
  }
  runner(const runner&) = delete;
  runner& operator=(const runner&) = delete;
  ~runner() {
    ek_context_destroy(context_);
    ek_model_close(model_);
  }

  void load(const std::vector<std::string>& files) {
    const std::uint32_t count = ek_model_input_count(model_);
    if (!files.empty() && files.size() != count)
      throw ended(kUsageError, "The model has " + std::to_string(count) + " inputs: give --in for each, or for none.");
    for (std::uint32_t i = 0; i < count; ++i) {
      const ek_tensor_info info = port(ek_model_input, i);
      buffers_.emplace_back(info.bytes + 1);
      if (!files.empty()) fill(info, files[i]);
    }
    for (std::uint32_t i = 0; i < ek_model_output_count(model_); ++i)
      buffers_.emplace_back(port(ek_model_output, i).bytes + 1);
    for (std::uint32_t i = 0; i < buffers_.size(); ++i) {
      if (i < count) {
        inputs_.push_back(buffers_[i].data());
      } else {
        outputs_.push_back(buffers_[i].data());
      }
    }
  }

  void run() {
    ek_error error;
    ek_run(context_, inputs_.data(), outputs_.data(), &error);
    check(error);
  }

  void store(const std::vector<std::string>& files) const {
    if (files.size() > outputs_.size())
      throw ended(kUsageError, "The model has " + std::to_string(outputs_.size()) + " outputs: there are more --out.");
    for (std::uint32_t i = 0; i < files.size(); ++i) {
      const ek_tensor_info info = port(ek_model_output, i);
      edgekit::write_npy(files[i], info.type, {info.size, info.size + info.dims}, outputs_[i], info.bytes);
    }
  }

  // Median and percentiles over runs one after the other, warm.
  void bench(unsigned runs) {
    std::vector<double> seconds;
    const double begin = now();
    while (runs ? seconds.size() < runs : seconds.size() < 10 || now() - begin < 1) {
      const double start = now();
      run();
      seconds.push_back(now() - start);
    }
    std::sort(seconds.begin(), seconds.end());
    const auto at = [&](double part) {
      return seconds[static_cast<std::size_t>(part * (static_cast<double>(seconds.size()) - 1))] * 1e6;
    };
    std::printf("isa %s  arena %zu bytes  packed weights %zu bytes\n", ek_model_isa(model_),
                ek_model_arena_bytes(model_), ek_model_weight_bytes(model_));
    std::printf("latency_us  median %.2f  least %.2f  p90 %.2f  p99 %.2f  runs %zu\n", at(0.5), at(0), at(0.9),
                at(0.99), seconds.size());
  }

  void layers(unsigned runs) {
    const std::uint32_t count = ek_model_operation_count(model_);
    std::vector<std::vector<double>> all(count);
    std::vector<double> seconds(count + 1);
    ek_error error;
    for (unsigned i = 0; i < (runs ? runs : 20); ++i) {
      ek_run_profiled(context_, inputs_.data(), outputs_.data(), seconds.data(), &error);
      check(error);
      for (std::uint32_t op = 0; op < count; ++op) all[op].push_back(seconds[op]);
    }
    std::printf("%10s %8s  %-20s %-28s %s\n", "time_us", "gmacs/s", "operation", "kernel", "why no faster one");
    for (std::uint32_t op = 0; op < count; ++op) {
      ek_operation_info info;
      ek_model_operation(model_, op, &info, &error);
      std::nth_element(all[op].begin(), all[op].begin() + static_cast<std::ptrdiff_t>(all[op].size() / 2),
                       all[op].end());
      const double median = all[op][all[op].size() / 2];
      const double speed = info.macs && median > 0 ? static_cast<double>(info.macs) / median / 1e9 : 0;
      std::printf("%10.2f %8.1f  %-20s %-28s %s\n", median * 1e6, speed, info.name, info.kernel, info.reason);
    }
  }

 private:
  using describe = ek_status (*)(const ek_model*, std::uint32_t, ek_tensor_info*, ek_error*);

  ek_tensor_info port(describe which, std::uint32_t index) const {
    ek_tensor_info info;
    ek_error error;
    which(model_, index, &info, &error);
    check(error);
    return info;
  }

  void fill(const ek_tensor_info& info, const std::string& path) {
    const edgekit::npy_array array = edgekit::read_npy(path);
    const std::vector<std::int64_t> size(info.size, info.size + info.dims);
    if (array.type != info.type || array.size != size)
      throw ended(kBadInput, "'" + path + "' does not have the type or shape of input '" + info.name + "'.");
    std::copy(array.data.begin(), array.data.end(), buffers_.back().begin());
  }

  ek_model* model_ = nullptr;
  ek_context* context_ = nullptr;
  std::vector<std::vector<unsigned char>> buffers_;  // inputs, then outputs
  std::vector<const void*> inputs_;
  std::vector<void*> outputs_;
};

void run_all(const options& own) {
  runner net(own);
  net.load(own.in);
  net.run();
  net.store(own.out);
  if (own.bench) net.bench(own.runs);
  if (own.layers) net.layers(own.runs);
}

}  // namespace

int main(int count, char** arguments) {
  try {
    run_all(parsed(count, arguments));
    return kOk;
  } catch (const ended& why) {
    std::fprintf(stderr, "ekrun: %s\n", why.what());
    return why.code;
  } catch (const edgekit::npy_error& why) {
    std::fprintf(stderr, "ekrun: %s\n", why.what());
    return kBadInput;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "ekrun: there is not enough memory.\n");
    return kResources;
  }
}
