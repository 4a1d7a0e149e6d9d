// Tiles for windows of few quads.
#pragma once

#include "product_tile_avx512vnni.h"

#if defined(__x86_64__)

namespace edgekit::vnni {

constexpr int kFew = 4;  // pixels come in multiples of it

// For blocks of as many vectors; null where the tiles of product_avx512vnni.cc have to do it.
Tiles small_tiles(const Product& product, const Finish& finish, int vectors);

}  // namespace edgekit::vnni

#endif
