// Packs the second matrix of a product of two for the AVX-512 VNNI tier, fast enough to be done again for each product.
#pragma once

#if defined(__x86_64__)

#include "product.h"

namespace edgekit::vnni {

// Whether the features of filters lie side by side, byte k of all of them in row k.
inline bool is_in_rows(const Product& product, const Filters& filters) {
  return filters.step.image == 1 && product.runs() == 1 && filters.channels == product.run_bytes;
}

// What pack_weights of product_pack.h makes of such filters, except that `wide` may be set where it need not be.
void pack_rows(const Product& product, const Filters& filters, void* to);

}  // namespace edgekit::vnni

#endif
