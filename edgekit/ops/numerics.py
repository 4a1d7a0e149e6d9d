"""What INT8 means in edgekit: the one place in Python where values are rounded.

Activations are signed 8 bit and symmetric, ``real = scale * q`` with zero point 0 and q in [-128, 127]; weights are
signed 8 bit per output channel with q in [-127, 127]; biases are int32. ``csrc/requant.h`` and ``kernels/requant.py``
implement the same rules and are tested against this file bit for bit. All rounding is half to even, in float32 unless a
function says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from edgekit.errors import NumericsError

S8_MIN, S8_MAX = -128, 127
S16_MIN, S16_MAX = -32_768, 32_767  # the cell of an LSTM
WEIGHT_MAX = 127
MAX_REDUCTION = 131_071  # longest dot product of s8 by s8 that int32 holds: 131,071 * 128 * 128 < 2^31
MAX_RATIO = 2.0**20  # add is exact through float64 for ratios in [2^-20, 2^20]
_PRODUCT = 128 * WEIGHT_MAX  # the largest magnitude of one product of activation and weight
_TINY = torch.finfo(torch.float32).tiny


def along(vector: Tensor, axis: int | None, rank: int) -> Tensor:
    """Reshape ``vector`` [C] so that it broadcasts along ``axis`` of ``rank`` dimensions; a scalar for no axis."""
    if axis is None:
        return vector.reshape(())
    return vector.reshape([-1 if i == axis % rank else 1 for i in range(rank)])


def saturate(values: Tensor, lo: int, hi: int, dtype: torch.dtype = torch.int8) -> Tensor:
    """Clamp float32 ``values`` to integer bounds, round half to even, convert to ``dtype``; NaN becomes 0."""
    return torch.nan_to_num(values, nan=0.0, posinf=math.inf, neginf=-math.inf).clamp(lo, hi).round().to(dtype)


def quantize(x: Tensor, scale: Tensor, axis: int | None = None, lo: int = S8_MIN, hi: int = S8_MAX) -> Tensor:
    """``sat8(rne(x / scale))`` with a true float32 division, as int8 of the shape of ``x``.

    Args:
        x: float32, any shape.
        scale: float32, one value, or one for each index of ``axis``.
        lo, hi: the bounds of q.
    """
    return saturate(x / along(scale, axis, x.dim()), lo, hi)


def quantize_s16(x: Tensor, scale: Tensor) -> Tensor:
    """``sat16(rne(x / scale))``, int16; what :func:`dequantize` made of int16 values comes back as it was.

    The product and the division err by 2^-23 together, which is at most 2^-8 steps of 32,768.
    """
    return saturate(x / scale, S16_MIN, S16_MAX, torch.int16)


def dequantize(q: Tensor, scale: Tensor, axis: int | None = None) -> Tensor:
    """``float32(q) * scale`` in float32, for int8, int16 and int32 values."""
    return q.to(torch.float32) * along(scale, axis, q.dim())


def requantize(acc: Tensor, multiplier: Tensor, lo: int = S8_MIN, hi: int = S8_MAX) -> Tensor:
    """``sat8(rne(float32(acc) * multiplier))``: an exact accumulator to int8; ``multiplier`` broadcasts."""
    return saturate(acc.to(torch.int32).to(torch.float32) * multiplier, lo, hi)


def bounds(lo: float, hi: float, scale: Tensor) -> tuple[int, int]:
    """The real bounds of a clamp, quantised: what replaces -128 and 127 after requantisation; infinity is no bound."""
    q = quantize(torch.tensor([lo, hi], dtype=torch.float32, device=scale.device), scale)
    return int(q[0]), int(q[1])


def check_scale(scale: Tensor, what: str = "scale") -> None:
    """Refuse a scale that is not a finite normal positive float32.

    Raises:
        NumericsError: naming ``what`` and the first value that is wrong.
    """
    wrong = ~((scale >= _TINY) & torch.isfinite(scale))
    if scale.dtype != torch.float32 or bool(wrong.any()):
        value = scale[wrong].flatten()[:1].tolist() or [str(scale.dtype)]
        raise NumericsError(
            f"{what} holds {value[0]}, which is not a normal positive float32.",
            fix="Calibrate with data that exercises this tensor, or keep the layer in float.",
        )


def divide(numerator: Tensor, denominator: Tensor, what: str = "ratio") -> Tensor:
    """One float32 division whose result must be a normal number, as every ratio that a kernel carries must be."""
    ratio = numerator / denominator
    check_scale(ratio, what)
    return ratio


def multiplier(input_scale: Tensor, weight_scale: Tensor, output_scale: Tensor) -> Tensor:
    """``(sx * sw) / sy`` in float32, left to right: requantises an accumulator of ``sx * sw`` to the scale ``sy``."""
    return divide(input_scale * weight_scale, output_scale, "requantisation multiplier")


def product_multiplier(a_scale: Tensor, b_scale: Tensor, output_scale: Tensor, factor: float = 1.0) -> float:
    """``((sa * sb) * factor) / sy`` in float32, for a product of two activations; attention's own scale is a factor."""
    product = (a_scale * b_scale).reshape(()) * torch.tensor(factor, dtype=torch.float32, device=a_scale.device)
    return float(divide(product, output_scale.reshape(()), "multiplier of a product"))


def weight_scale(weight: Tensor, bias: Tensor | None, input_scale: Tensor, axis: int = 0) -> Tensor:
    """Per-channel ``max(max|w| / 127, |b| / (sx * room))``, and 1 where that is 0, so a dead channel keeps its bias.

    Args:
        weight: float32, any rank; ``axis`` is the output channel (0 of conv and linear).
        bias: float32 [C] or None.
        input_scale: float32 scale of the input activation.

    Returns:
        float32 [C]. ``room`` is what the accumulator leaves the bias: :func:`bias_room`.

    Raises:
        NumericsError: where the fan-in is over 131,071, which int32 does not hold.
    """
    rows = weight.detach().movedim(axis, 0).flatten(1)
    fan_in = check_reduction(rows.shape[1])
    scale = rows.abs().amax(1) / WEIGHT_MAX if fan_in else torch.zeros(rows.shape[0])
    if bias is not None:
        scale = torch.maximum(scale, bias.detach().abs() / (input_scale * float(bias_room(fan_in))))
    scale = torch.where(scale < _TINY, torch.ones_like(scale), scale)
    check_scale(scale, "weight scale")
    return scale


def bias_room(fan_in: int) -> int:
    """The largest magnitude of an int32 bias that leaves room for a sum of ``fan_in`` products."""
    return min(2**30, 2**31 - 1 - fan_in * _PRODUCT)


def check_reduction(fan_in: int) -> int:
    """Return ``fan_in``, or refuse a dot product that could overflow int32; a traced symbol is checked at each run."""
    if isinstance(fan_in, int) and fan_in > MAX_REDUCTION:
        raise NumericsError(
            f"a reduction over {fan_in} values does not fit int32 (at most {MAX_REDUCTION}).",
            fix="Split the layer, or keep it in float.",
        )
    return fan_in


def quantize_bias(bias: Tensor, input_scale: Tensor, weight_scale: Tensor) -> Tensor:
    """``rne(b / (sx * sw[c]))`` in float64, as int32 [C]; the product of scales is the float32 one that kernels use."""
    steps = bias.detach().double() / (input_scale * weight_scale).double()
    return steps.round().to(torch.int32)


def add_ratio(scale: Tensor, output_scale: Tensor) -> float:
    """``sa / sy`` for :func:`edgekit.ops.add_s8.reference`, refused outside [2^-20, 2^20]."""
    ratio = float(divide(scale, output_scale, "ratio of an addition").reshape(()))
    if not 1 / MAX_RATIO <= ratio <= MAX_RATIO:
        raise NumericsError(
            f"an addition joins scales with ratio {ratio:g}, outside [2^-20, 2^20].",
            fix="One input of the addition is negligible or dead: prune it or keep the addition in float.",
        )
    return ratio


def exact_step(ratio_a: float, ratio_b: float) -> float:
    """The power of two of which both ratios of an addition must be multiples so that no kernel rounds before the end.

    ONNX Runtime adds the unsigned bytes, ``(a + 128) ra + ((b + 128) rb + (128 - 128 (ra + rb)))`` in float32: partial
    sums stay below ``384 (ra + rb) + 128`` and have 24 bits.
    """
    return 2.0 ** (math.ceil(math.log2(384 * (ratio_a + ratio_b) + 128)) - 24)


def is_exact_addition(ratio_a: float, ratio_b: float) -> bool:
    """Whether a sum at these ratios is the same in whatever order and form a kernel computes it."""
    step = exact_step(ratio_a, ratio_b)
    return ratio_a % step == 0 and ratio_b % step == 0


def table(function: Callable[[Tensor], Tensor], input_scale: Tensor, output_scale: Tensor) -> Tensor:
    """int8 [256]: ``table[q + 128] = quantize(float32(f(float64(dequantize(q)))))``, with f evaluated in float64."""
    q = torch.arange(S8_MIN, S8_MAX + 1, dtype=torch.int32, device=input_scale.device)
    real = function(dequantize(q, input_scale).double())
    return quantize(real.to(torch.float32), output_scale)


def softmax_table(scale: Tensor) -> Tensor:
    """int32 [256]: ``rne(exp(-d * scale) * 2^23)`` in float64, the weight of a value d steps below the largest."""
    distance = torch.arange(256, dtype=torch.float64, device=scale.device)
    return (torch.exp(-distance * scale.reshape(()).double()) * 2.0**23).round().to(torch.int32)


def pool_multipliers(input_scale: Tensor, output_scale: Tensor, area: int, divisor: int | None = None) -> Tensor:
    """float32 [area + 1]: for a window of n values, ``sx / (float32(n) * sy)``; entry 0 is unused.

    Args:
        area: the largest number of values in a window.
        divisor: replaces n in every entry (torch's ``divisor_override``).
    """
    n = (
        torch.arange(area + 1, dtype=torch.float32).clamp_(min=1)
        if divisor is None
        else torch.full((area + 1,), float(divisor))
    )
    return divide(input_scale.reshape(()), n * output_scale.reshape(()), "multiplier of an average pool")
