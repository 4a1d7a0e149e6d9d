"""``y = sat8(rne(float32(a * b) * multiplier))``: the product of two int8 tensors, value by value."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from edgekit.ops import checks, numerics, samples
from edgekit.ops.spec import Case, Cost, OpSpec


def reference(a: Tensor, b: Tensor, multiplier: float, lo: int = -128, hi: int = 127) -> Tensor:
    """Exact products, one requantisation.

    Args:
        a, b: int8; they broadcast.
        multiplier: ``(sa * sb) / sy`` as float32.
        lo, hi: bounds of the result.
    """
    ratio = torch.tensor(multiplier, dtype=torch.float32, device=a.device)
    return numerics.requantize(a.int() * b.int(), ratio, lo, hi)


def shape(a: Tensor, b: Tensor, multiplier: float, lo: int = -128, hi: int = 127) -> Tensor:
    """Check the arguments; int8 of the shape that both make."""
    result = checks.broadcast("mul_s8", a, b)
    checks.normal("mul_s8", "multiplier", multiplier)
    checks.bounds("mul_s8", lo, hi)
    return checks.result(result, a, b)


def cases() -> Iterator[Case]:
    """Every pair of int8 values; tails; strides; broadcasting; nothing at all."""
    values = torch.arange(-128, 128).to(torch.int8)
    for multiplier in (1.0, 0.5, 1 / 127, 2.0**-24):
        yield Case(f"every pair at {multiplier:g}", (values.repeat_interleave(256), values.repeat(256), multiplier))
    for n in (0, 1, 15, 67):
        yield Case(f"length {n}", (samples.s8(n), samples.s8(n, seed=1), 0.01, 0, 127))
    yield Case("strided", (samples.s8(5, 6).t(), samples.s8(6, 10)[:, ::2], 0.01))
    yield Case("a gate for each channel", (samples.s8(2, 5, 4, 3), samples.s8(2, 5, 1, 1, seed=1), 0.01))
    last = samples.channels_last(samples.s8(2, 5, 4, 3))
    yield Case("channels last", (last, samples.s8(2, 5, 1, 1, seed=1), 0.01))
    yield Case("outer product", (samples.s8(7, 1), samples.s8(1, 9, seed=1), 0.01))
    yield Case("scalars", (samples.s8(), samples.s8(seed=1), 0.01))
    yield Case("gate 64x56x56", (samples.s8(1, 64, 56, 56), samples.s8(1, 64, 1, 1, seed=1), 0.01), layer=True)


def cost(a: Tensor, b: Tensor, multiplier: float, lo: int = -128, hi: int = 127) -> Cost:
    """Two tensors in, one out."""
    return Cost(macs=0, bytes=a.numel() + b.numel() + shape(a, b, multiplier, lo, hi).numel())


OP = OpSpec(
    name="mul_s8",
    schema="(Tensor a, Tensor b, float multiplier, int lo=-128, int hi=127) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "avx2", "avx512vnni", "neondot", "triton"),
)
