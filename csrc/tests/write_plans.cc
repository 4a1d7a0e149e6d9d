// Writes the plans of nets.cc into a folder: NAME.ekm, and what `ref` answers to the pattern of the examples, NAME.bin.
//
//   write_plans FOLDER
#include "nets.h"
#include "runs.h"

namespace edgekit::test {
namespace {

void write(const std::string& path, const void* content, std::size_t bytes) {
  FILE* file = std::fopen(path.c_str(), "wb");
  expect(file && std::fwrite(content, 1, bytes, file) == bytes && std::fclose(file) == 0, "writes " + path);
}

}  // namespace
}  // namespace edgekit::test

int main(int count, char** words) {
  using namespace edgekit::test;
  if (count != 2) {
    std::fprintf(stderr, "usage: write_plans FOLDER\n");
    return 2;
  }
  for (const Net& net : nets()) {
    const Bytes plan = net.make();
    const std::string path = std::string(words[1]) + "/" + net.name;
    write(path + ".ekm", plan.data(), plan.size());
    const auto expected = outputs_of(Model(plan, "ref"));
    write(path + ".bin", expected.data(), expected.size());
  }
  return verdict();
}
