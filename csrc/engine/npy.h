// Reads and writes .npy files, strictly: format 1 to 3, little-endian, C order, the types that a plan has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "../include/edgekit.h"

namespace edgekit {

struct npy_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct npy_array {
  ek_type type;
  std::vector<std::int64_t> size;
  std::vector<unsigned char> data;
};

npy_array read_npy(const std::string& path);
void write_npy(const std::string& path, ek_type type, const std::vector<std::int64_t>& size, const void* data,
               std::size_t bytes);

}  // namespace edgekit
