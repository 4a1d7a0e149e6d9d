// quantize_s8 for NEON, one scale for all: a loop that the compiler makes vectors of, and planes.h around it.
#include "../planes.h"
#include "../requant.h"
#include "../weave.h"

#if defined(__aarch64__)

namespace edgekit {

namespace {

void line(const quantize_s8_args& args, const float* __restrict x, std::int64_t count, std::int8_t* __restrict out) {
  const float scale = *args.scale;
  const bounds limit = args.limit;
  for (std::int64_t i = 0; i < count; ++i) out[i] = quantize(x[i], scale, limit.lo, limit.hi);
}

}  // namespace

const char* quantize_s8_neondot_refuses(const quantize_s8_args& args) {
  return planes::refuses(args);
}

void quantize_s8_neondot(const quantize_s8_args& args, const part& part) {
  planes::quantize(args, part, {line, planes::weave});
}

}  // namespace edgekit

#endif
