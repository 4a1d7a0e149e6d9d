// Depthwise convolutions of the AVX2 tier: one filter for each channel.
#pragma once

#include <cstddef>

#include "ops.h"
#include "part.h"

namespace edgekit::avx2 {

// Why these arguments are not taken, or null.
const char* depthwise_refuses(const conv2d_s8_args& args);

std::size_t depthwise_packed_bytes(const conv2d_s8_args& args);

void pack_depthwise(const conv2d_s8_args& args, void* to);

// This part's share of the rows. groups == in_channels == out_channels.
void depthwise(const conv2d_s8_args& args, const part& part);

}  // namespace edgekit::avx2
