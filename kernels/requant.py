"""The one rounding of the Triton tier: float32 to int8, the twin of ``edgekit/ops/numerics.py`` and ``csrc/requant.h``.

``sat8(rne(v))``: clamp in float32, round half to even, convert; NaN counts as 0.
"""

from __future__ import annotations

import triton
import triton.language as tl

# 1.5 * 2^23: within 2^22 of it float32 has a spacing of exactly 1, so adding it rounds to an integer, half to even.
# Unlike libdevice.rint it is the same in Triton's interpreter.
_SHIFT = tl.constexpr(12582912.0)


@triton.jit
def saturate(values, lo, hi):
    """Clamp float32 ``values`` to [lo, hi], integers passed as floats within [-128, 127], and round to int8."""
    values = tl.where(values == values, values, 0.0)
    values = tl.minimum(tl.maximum(values, lo), hi)
    return ((values + _SHIFT) - _SHIFT).to(tl.int32).to(tl.int8)


@triton.jit
def requantize(accumulator, multiplier, lo, hi):
    """Exact int32 ``accumulator`` to int8: ``sat8(rne(float32(accumulator) * multiplier))``."""
    return saturate(accumulator.to(tl.float32) * multiplier, lo, hi)
