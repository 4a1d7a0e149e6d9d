#include "npy.h"

#include <cstdio>
#include <cstring>
#include <memory>

namespace edgekit {

namespace {

constexpr char kMagic[] = "\x93NUMPY";
constexpr std::size_t kMagicBytes = 6, kMostHeader = 65536, kMostDims = 8;

struct element {
  const char* descr;
  std::size_t bytes;
};
constexpr element kElements[] = {{"|i1", 1}, {"|u1", 1}, {"<i2", 2}, {"<i4", 4}, {"<i8", 8}, {"<f4", 4}, {"|b1", 1}};

struct close_file {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using file = std::unique_ptr<std::FILE, close_file>;

[[noreturn]] void fail(const std::string& path, const std::string& why) {
  throw npy_error("'" + path + "': " + why + ".");
}

void read_bytes(std::FILE* from, void* to, std::size_t bytes, const std::string& path) {
  if (std::fread(to, 1, bytes, from) != bytes) fail(path, "the file ends too early");
}

// What stands behind 'key': in the header, up to the comma or brace that ends it.
std::string value_of(const std::string& header, const std::string& key, const std::string& path) {
  const std::string quoted = "'" + key + "':";
  const std::size_t at = header.find(quoted);
  if (at == std::string::npos) fail(path, "the header lacks " + key);
  std::size_t begin = header.find_first_not_of(' ', at + quoted.size());
  if (begin == std::string::npos) fail(path, "the header is cut off");
  const bool tuple = header[begin] == '(';
  const std::size_t end = header.find_first_of(tuple ? ")" : ",}", begin);
  if (end == std::string::npos) fail(path, "the header is cut off");
  return header.substr(begin, end - begin + (tuple ? 1 : 0));
}

ek_type type_of(const std::string& descr, const std::string& path) {
  for (int type = EK_S8; type <= EK_BOOL; ++type)
    if (descr == std::string("'") + kElements[type].descr + "'") return static_cast<ek_type>(type);
  fail(path, "elements of type " + descr + " are not read; convert it to what the model takes");
}

std::vector<std::int64_t> shape_of(const std::string& tuple, const std::string& path) {
  std::vector<std::int64_t> size;
  std::int64_t value = 0;
  bool digits = false;
  for (const char c : tuple.substr(1)) {
    if (c >= '0' && c <= '9') {
      value = value * 10 + (c - '0');
      digits = true;
      if (value > (std::int64_t{1} << 40)) fail(path, "the shape is too large");
    } else if ((c == ',' || c == ')') && digits) {
      size.push_back(value);
      value = 0;
      digits = false;
    } else if (c != ' ' && c != ')') {
      fail(path, "the shape is not a tuple of numbers");
    }
  }
  if (size.size() > kMostDims) fail(path, "it has more than 8 dimensions");
  return size;
}

std::string read_header(std::FILE* from, const std::string& path) {
  unsigned char start[kMagicBytes + 2], length[4] = {};
  read_bytes(from, start, sizeof start, path);
  if (std::memcmp(start, kMagic, kMagicBytes) != 0) fail(path, "it is not a .npy file");
  if (start[kMagicBytes] < 1 || start[kMagicBytes] > 3) fail(path, "its format is not 1, 2 or 3");
  read_bytes(from, length, start[kMagicBytes] == 1 ? 2 : 4, path);
  const std::size_t bytes =
      length[0] + (std::size_t{length[1]} << 8) + (std::size_t{length[2]} << 16) + (std::size_t{length[3]} << 24);
  if (bytes > kMostHeader) fail(path, "its header is too long");
  std::string header(bytes, ' ');
  read_bytes(from, header.data(), bytes, path);
  return header;
}

}  // namespace

npy_array read_npy(const std::string& path) {
  const file from(std::fopen(path.c_str(), "rb"));
  if (!from) fail(path, "it cannot be opened");
  const std::string header = read_header(from.get(), path);
  if (value_of(header, "fortran_order", path) != "False")
    fail(path, "it is in Fortran order; save np.ascontiguousarray of it");
  npy_array result = {
      type_of(value_of(header, "descr", path), path), shape_of(value_of(header, "shape", path), path), {}};
  std::size_t bytes = kElements[result.type].bytes;
  for (const std::int64_t size : result.size)
    if (__builtin_mul_overflow(bytes, static_cast<std::size_t>(size), &bytes) || bytes > (std::size_t{1} << 40))
      fail(path, "it is too large");
  // In pieces, so that a header that lies about the size meets the end of the file before memory ends.
  constexpr std::size_t kPiece = 1 << 24;
  for (std::size_t at = 0; at < bytes; at = result.data.size()) {
    result.data.resize(at + (bytes - at < kPiece ? bytes - at : kPiece));
    read_bytes(from.get(), result.data.data() + at, result.data.size() - at, path);
  }
  if (std::fgetc(from.get()) != EOF) fail(path, "there is more behind its last element");
  return result;
}

void write_npy(const std::string& path, ek_type type, const std::vector<std::int64_t>& size, const void* data,
               std::size_t bytes) {
  std::string shape;
  for (const std::int64_t one : size) shape += std::to_string(one) + ", ";
  if (size.size() > 1) shape.resize(shape.size() - 2);
  std::string header =
      std::string("{'descr': '") + kElements[type].descr + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  header.append((64 - (kMagicBytes + 4 + header.size() + 1) % 64) % 64, ' ');
  header += '\n';
  const unsigned char start[4] = {1, 0, static_cast<unsigned char>(header.size() % 256),
                                  static_cast<unsigned char>(header.size() / 256)};
  const file to(std::fopen(path.c_str(), "wb"));
  const bool done = to && std::fwrite(kMagic, 1, kMagicBytes, to.get()) == kMagicBytes &&
                    std::fwrite(start, 1, sizeof start, to.get()) == sizeof start &&
                    std::fwrite(header.data(), 1, header.size(), to.get()) == header.size() &&
                    std::fwrite(data, 1, bytes, to.get()) == bytes && std::fflush(to.get()) == 0;
  if (!done) fail(path, "it cannot be written");
}

}  // namespace edgekit
