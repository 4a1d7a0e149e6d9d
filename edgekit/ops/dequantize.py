"""``x = float32(q) * scale``: int8 or int32 to float32, per tensor or per channel."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from edgekit.ops import checks, numerics, samples
from edgekit.ops.spec import Case, Cost, OpSpec


def reference(x: Tensor, scale: Tensor, axis: int | None = None) -> Tensor:
    """Back to real values.

    Args:
        x: int8 or int32, any shape.
        scale: float32, [] or [1], or [x.shape[axis]].
        axis: the dimension that ``scale`` runs along.
    """
    return numerics.dequantize(x, scale, axis)


def shape(x: Tensor, scale: Tensor, axis: int | None = None) -> Tensor:
    """Check the arguments; float32 of the shape of ``x``."""
    checks.tensor("dequantize", "x", x, (torch.int8, torch.int32), x)
    checks.scale("dequantize", scale, x, axis)
    return torch.empty_like(x, dtype=torch.float32, memory_format=checks.layout(x))


def cases() -> Iterator[Case]:
    """Every int8, int32 at its ends and where float32 rounds, per channel, nothing at all."""
    yield Case("every int8", (torch.arange(-128, 128).to(torch.int8), torch.tensor([0.1])))
    ends = torch.tensor([-(2**31), 2**31 - 1, 2**24 + 1, -(2**24) - 3, 0, 1], dtype=torch.int32)
    yield Case("int32 ends", (ends, torch.tensor(1 / 3)))
    for n in (0, 1, 17):
        yield Case(f"length {n}", (samples.s8(n), torch.tensor([0.02])))
    for axis in (0, 1, -1):
        x = samples.s8(3, 5, 7)
        yield Case(f"per channel on axis {axis}", (x, samples.positive(x.shape[axis]), axis))
    yield Case("int32 bias per channel", (samples.s32(31, magnitude=1 << 30), samples.positive(31, middle=1e-6), 0))
    yield Case("transposed", (samples.s8(6, 5).t(), samples.positive(5), 0))
    yield Case("channels last", (samples.channels_last(samples.s8(2, 3, 5, 4)), samples.positive(3), -3))
    yield Case("scalar", (torch.tensor(-128, dtype=torch.int8), torch.tensor(0.5)))
    yield Case("image 64x56x56", (samples.s8(1, 64, 56, 56), torch.tensor([0.02])), layer=True)


def cost(x: Tensor, scale: Tensor, axis: int | None = None) -> Cost:  # noqa: ARG001
    """Reads integers, writes floats."""
    return Cost(macs=0, bytes=x.nbytes + scale.nbytes + 4 * x.numel())


OP = OpSpec(
    name="dequantize",
    schema="(Tensor x, Tensor scale, int? axis=None) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "triton"),
)
