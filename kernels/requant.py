"""The one rounding of the Triton tier: float32 to int8, the twin of ``edgekit/ops/numerics.py`` and ``csrc/requant.h``.

``sat8(rne(v))``: clamp in float32, round half to even, convert; NaN counts as 0. An LSTM's cell is int16.
"""

from __future__ import annotations

import triton
import triton.language as tl

# 1.5 * 2^23: within 2^22 of it float32 has a spacing of exactly 1, so adding it rounds to an integer, half to even.
# Unlike libdevice.rint it is the same in Triton's interpreter.
_SHIFT = tl.constexpr(12582912.0)


@triton.jit
def round_half_even(values):
    """Round float32 ``values`` within [-2^22, 2^22] to whole numbers, as float32."""
    return (values + _SHIFT) - _SHIFT


@triton.jit
def saturate(values, lo, hi, dtype: tl.constexpr = tl.int8):
    """Clamp float32 ``values`` to [lo, hi], integers of ``dtype`` passed as floats, and round: to int8 or int16."""
    values = tl.where(values == values, values, 0.0)
    values = tl.minimum(tl.maximum(values, lo), hi)
    return round_half_even(values).to(tl.int32).to(dtype)


@triton.jit
def requantize(accumulator, multiplier, lo, hi):
    """Exact int32 ``accumulator`` to int8: ``sat8(rne(float32(accumulator) * multiplier))``."""
    return saturate(accumulator.to(tl.float32) * multiplier, lo, hi)
