// One window times blocks of features.
#pragma once

#include "product_tile_avx512vnni.h"

#if defined(__x86_64__)

namespace edgekit::vnni {

inline bool is_row(const Product& product) {
  return product.runs() == 1 && product.pixels() == 1;
}

void multiply_row(const Product& product, const void* packed, const bounds& limit, const residual& added, range blocks);

}  // namespace edgekit::vnni

#endif
