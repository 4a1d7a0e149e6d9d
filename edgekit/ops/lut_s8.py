"""``y = table[q + 128]``: any function of one int8 tensor, as a table that :mod:`edgekit.ops.numerics` builds."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from edgekit.ops import checks, numerics, samples
from edgekit.ops.spec import Case, Cost, OpSpec


def reference(x: Tensor, table: Tensor, axis: int | None = None) -> Tensor:
    """Look every value up.

    Args:
        x: int8, any shape.
        table: int8 [256], or [x.shape[axis], 256]; entry 0 answers -128.
        axis: the dimension that has a table for each index.
    """
    if axis is None:
        return table[x.long() + 128]
    channel = numerics.along(torch.arange(x.shape[axis], device=x.device), axis, x.dim())
    return table[channel, x.long() + 128]


def shape(x: Tensor, table: Tensor, axis: int | None = None) -> Tensor:
    """Check the arguments; int8 of the shape of ``x``."""
    if axis is not None:
        checks.integer("lut_s8", "axis", axis, -x.dim(), x.dim() - 1)
    checks.tensor("lut_s8", "x", x, torch.int8, x)
    checks.tensor("lut_s8", "table", table, torch.int8, x)
    checks.size("lut_s8", "table", table, (256,) if axis is None else (x.shape[axis], 256))
    return torch.empty_like(x, memory_format=checks.layout(x))


def cases() -> Iterator[Case]:
    """Every int8 through a permutation and through functions; tails; strides; nothing at all."""
    every = torch.arange(-128, 128).to(torch.int8)
    yield Case("reversed", (every, every.flip(0)))
    sigmoid = numerics.table(torch.sigmoid, torch.tensor([0.05]), torch.tensor([1 / 127]))
    yield Case("sigmoid", (every, sigmoid))
    for n in (0, 1, 13, 65):
        yield Case(f"length {n}", (samples.s8(n), samples.s8(256, seed=1)))
    yield Case("strided", (samples.s8(5, 8).t()[::3], samples.s8(512)[::2]))
    yield Case("scalar", (torch.tensor(-128, dtype=torch.int8), every))
    for axis in (0, 1, -1):
        x = samples.s8(3, 5, 4)
        yield Case(f"a table each along {axis}", (x, samples.s8(x.shape[axis], 256, seed=2), axis))
    last = samples.channels_last(samples.s8(2, 3, 5, 4))
    yield Case("channels last", (last, samples.s8(3, 256, seed=2), 1))
    yield Case("no channels", (samples.s8(2, 0, 3), samples.s8(0, 256), 1))
    yield Case("activation 64x56x56", (samples.s8(1, 64, 56, 56), sigmoid), layer=True)


def cost(x: Tensor, table: Tensor, axis: int | None = None) -> Cost:  # noqa: ARG001
    """One byte in, one byte out."""
    return Cost(macs=0, bytes=2 * x.numel() + table.nbytes)


OP = OpSpec(
    name="lut_s8",
    schema="(Tensor x, Tensor table, int? axis=None) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "avx512vnni", "triton"),
)
