"""``q = sat8(rne(x / scale))``: float32 to int8, per tensor or per channel."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from edgekit.ops import checks, numerics, samples
from edgekit.ops.spec import Case, Cost, OpSpec


def reference(x: Tensor, scale: Tensor, axis: int | None = None, lo: int = -128, hi: int = 127) -> Tensor:
    """Quantise with a true division; infinities saturate, NaN becomes 0.

    Args:
        x: float32, any shape.
        scale: float32, [] or [1], or [x.shape[axis]].
        axis: the dimension that ``scale`` runs along.
        lo, hi: bounds of the result within [-128, 127].
    """
    return numerics.quantize(x, scale, axis, lo, hi)


def shape(x: Tensor, scale: Tensor, axis: int | None = None, lo: int = -128, hi: int = 127) -> Tensor:
    """Check the arguments; int8 of the shape of ``x``."""
    checks.tensor("quantize_s8", "x", x, torch.float32, x)
    checks.scale("quantize_s8", scale, x, axis)
    checks.bounds("quantize_s8", lo, hi)
    return torch.empty_like(x, dtype=torch.int8, memory_format=checks.layout(x))


def cases() -> Iterator[Case]:
    """Tails, ties, infinities, both ends of the exponent, per channel on each axis, nothing at all."""
    for n in (0, 1, 3, 31, 257):
        yield Case(f"length {n}", (samples.f32(n, spread=3), samples.positive(1, middle=0.05)))
    for step in (1.0, 0.1, 1 / 3, 2.0**-20):
        yield Case(f"ties and specials at scale {step:g}", (samples.specials(step), torch.tensor(step)))
    yield Case("scalar", (torch.tensor(0.7), torch.tensor([0.1])))
    yield Case(
        "smallest normal scale", (samples.f32(33, spread=1e-37), torch.tensor([torch.finfo(torch.float32).tiny]))
    )
    yield Case("largest scale", (samples.f32(33, spread=1e38), torch.tensor([3e38])))
    for axis in (0, 1, -1):
        x = samples.f32(5, 7, 3, spread=2)
        yield Case(f"per channel on axis {axis}", (x, samples.positive(x.shape[axis], middle=0.02), axis, -127, 127))
    yield Case("transposed", (samples.f32(6, 5).t(), samples.positive(5, middle=0.01), 0))
    last = samples.channels_last(samples.f32(2, 3, 5, 4))
    yield Case("channels last", (last, samples.positive(3, middle=0.02), 1))
    yield Case("no rows", (samples.f32(0, 4), samples.positive(4), 1))
    yield Case("ReLU6 bounds", (samples.f32(100, spread=6), torch.tensor([0.05]), None, 0, 120))
    yield Case("bounds above zero", (samples.specials(1.0), torch.tensor([1.0]), None, 3, 3))
    yield Case("image 64x56x56", (samples.f32(1, 64, 56, 56), torch.tensor([0.02])), layer=True)
    yield Case(
        "weight 256x256x3x3",
        (samples.f32(256, 256, 3, 3), samples.positive(256, middle=0.02), 0, -127, 127),
        layer=True,
    )


def cost(x: Tensor, scale: Tensor, axis: int | None = None, lo: int = -128, hi: int = 127) -> Cost:  # noqa: ARG001
    """Reads floats, writes bytes."""
    return Cost(macs=0, bytes=x.nbytes + scale.nbytes + x.numel())


OP = OpSpec(
    name="quantize_s8",
    schema="(Tensor x, Tensor scale, int? axis=None, int lo=-128, int hi=127) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "avx2", "avx512vnni", "neondot", "triton"),
)
