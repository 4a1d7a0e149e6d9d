// The dense product of the NEON tier with dot products, shared by conv2d_s8, linear_s8, matmul_s8 and the recurrent
// layers.
#pragma once

#include <cstddef>

#include "product.h"

namespace edgekit::neon {

std::size_t packed_bytes(const Product& product);

void pack_weights(const Product& product, const Filters& filters, void* to);

// This part's share of the pixels or of the features. `packed` is what pack_weights made for the same product.
void multiply(const Product& product, const void* packed, const bounds& limit, const residual& added, const part& part);

inline constexpr DenseProduct kDense = {packed_bytes, pack_weights, no_scratch, multiply, 0};

}  // namespace edgekit::neon
