"""What pruning knows of the weights of a layer without data: for each channel ``sum |w|`` and ``sum w * w``.

Both in one pass through memory. In float64 a magnitude and a square are exact; :mod:`~edgekit.ops.sums` adds them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from edgekit.ops import checks, samples, sums
from edgekit.ops.spec import Case, Cost, OpSpec


def reference(weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Sums over everything but the channels.

    Args:
        weight: float32, any shape with one dimension at least.
        axis: the dimension of the channels.

    Returns:
        float32 [C] and float32 [C]: sums of magnitudes, sums of squares; infinite where float32 does not hold them.
    """
    values = sums.by_channel(weight.double(), axis)
    return sums.ordered(values.abs()).float(), sums.ordered(values * values).float()


def shape(weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Check the arguments; two vectors with a value for each channel."""
    checks.tensor("group_scores", "weight", weight, torch.float32, weight)
    checks.integer("group_scores", "axis", axis, -weight.dim(), weight.dim() - 1)
    channels = weight.shape[axis]
    return weight.new_empty(channels), weight.new_empty(channels)


def cases() -> Iterator[Case]:
    """Every axis, tails around lanes and chunks, both ends of the exponent, zero sizes."""
    for sizes, axis in (((1,), 0), ((7,), -1), ((3, 5), 0), ((3, 5), 1), ((4, 3, 3, 3), 0), ((4, 3, 3, 3), 1)):
        yield Case(f"{sizes} on {axis}", (samples.f32(*sizes), axis))
    for length in (255, 256, 257, 4095, 4096, 4097, 9000):
        yield Case(f"2x{length}", (samples.f32(2, length), 0))
        yield Case(f"{length}x2", (samples.f32(length, 2), -1))
    for sizes in ((0, 4), (4, 0)):
        yield Case(f"zero size {sizes[0]}x{sizes[1]}", (samples.f32(*sizes), 0))
    powers = torch.exp2(torch.arange(-149.0, 64)).repeat(3, 2)
    yield Case("powers of two", (powers * torch.tensor([[1.0], [-1.0], [2.0**-60]]), 0))
    yield Case("too large a square", (torch.tensor([[3e38, 1.0], [1.0, -1e30]]), 0))
    yield Case("strided", (samples.f32(12, 10).t()[::2], 1))
    yield Case("layer 128x128x3x3", (samples.f32(128, 128, 3, 3), 0), layer=True)
    yield Case("inputs of a layer 128x128x3x3", (samples.f32(128, 128, 3, 3), 1), layer=True)


def cost(weight: Tensor, axis: int) -> Cost:
    """Reads floats; what it writes is small."""
    return Cost(macs=0, bytes=weight.nbytes + 2 * 4 * weight.shape[axis])


OP = OpSpec(
    name="group_scores",
    schema="(Tensor weight, int axis) -> (Tensor, Tensor)",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "triton"),
)
