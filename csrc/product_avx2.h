// The dense product of the AVX2 tier, shared by conv2d_s8 and linear_s8.
#pragma once

#include <cstddef>

#include "part.h"
#include "product.h"

namespace edgekit::avx2 {

std::size_t packed_bytes(const Product& product);

void pack_weights(const Product& product, const Filters& filters, void* to);

// Of each part: windows widened to int16.
std::size_t scratch_bytes(const Product& product);

// This part's share of the pixels or of the features. `packed` is what pack_weights made for the same product.
void multiply(const Product& product, const void* packed, const bounds& limit, const residual& added, const part& part);

}  // namespace edgekit::avx2
