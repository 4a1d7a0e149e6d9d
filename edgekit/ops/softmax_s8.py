"""``y = sat8(rne(float32(T[max - q]) * r))``, ``r = float32(1 / (sum T[max - q] * sy))``: softmax of rows.

T is the table of :func:`edgekit.ops.numerics.softmax_table`. The sum is exact in int64: N < 2^24 entries below 2^31.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from edgekit.errors import UsageError
from edgekit.ops import checks, norm, numerics, samples
from edgekit.ops.spec import Case, Cost, OpSpec


def reference(x: Tensor, table: Tensor, output_scale: float, mask: Tensor | None = None) -> Tensor:
    """What is masked is left out of the maximum and of the sum; a row without anything else gives 0.

    Args:
        x: int8 [..., N], N < 2^24.
        table: int32 [256]; entry d weighs a value d steps below the largest.
        output_scale: sy as float32; the usual 1/127 holds 1.
        mask: bool, broadcasts to ``x``; True takes part.
    """
    q = x.int()
    taken = torch.ones_like(x, dtype=torch.bool) if mask is None else mask.expand(x.shape)
    distance = q.masked_fill(~taken, numerics.S8_MIN).amax(-1, keepdim=True) - q
    weight = table[distance.clamp(min=0)].masked_fill(~taken, 0)
    total = weight.long().sum(-1, keepdim=True).double()
    y = numerics.saturate(weight.float() * (1 / (total * output_scale)).float(), numerics.S8_MIN, numerics.S8_MAX)
    return y.masked_fill(~taken, 0)


def shape(x: Tensor, table: Tensor, output_scale: float, mask: Tensor | None = None) -> Tensor:
    """Check the arguments; int8 of the shape of ``x``."""
    checks.tensor("softmax_s8", "x", x, torch.int8, x)
    norm.check_set("softmax_s8", norm.last("softmax_s8", x))
    checks.tensor("softmax_s8", "table", table, torch.int32, x)
    checks.size("softmax_s8", "table", table, (256,))
    checks.normal("softmax_s8", "output_scale", output_scale)
    if mask is not None:
        checks.tensor("softmax_s8", "mask", mask, torch.bool, x)
        _broadcasts(mask, x)
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _broadcasts(mask: Tensor, x: Tensor) -> None:
    sizes = zip(reversed(mask.shape), reversed(x.shape), strict=False)
    if mask.dim() > x.dim() or any(size != 1 and size != want for size, want in sizes):
        raise UsageError(f"softmax_s8: mask of shape {tuple(mask.shape)} does not broadcast to {tuple(x.shape)}.")


def cases() -> Iterator[Case]:
    """Every int8 in a row; rows of one value; ties; masks of every form, whole rows masked; strides; nothing."""
    unit = 1 / 127
    table = numerics.softmax_table(torch.tensor([0.07]))
    every = torch.arange(-128, 128).to(torch.int8)
    yield Case("every value", (every, table, unit))
    for scale in (2.0**-126, 1e-3, 0.5, 40.0):
        yield Case(f"scale {scale:g}", (samples.s8(3, 33), numerics.softmax_table(torch.tensor([scale])), unit))
    yield Case("all equal", (torch.full((2, 254), -128, dtype=torch.int8), table, unit))
    yield Case("one value", (samples.s8(4, 1), table, unit))
    yield Case("output that saturates", (samples.s8(4, 3), table, 1 / 1000))
    yield Case("no row", (samples.s8(0, 5), table, unit))
    x = samples.s8(2, 3, 5, 5)
    yield Case("causal", (x, table, unit, torch.ones(5, 5, dtype=torch.bool).tril()))
    padding = torch.arange(5)[None, :] < torch.tensor([[5], [0]])
    yield Case("padding, one sequence empty", (x, table, unit, padding[:, None, None, :]))
    yield Case("masked by row", (x, table, unit, samples.s8(3, 5, 1) > 0))
    yield Case("one mask for all", (x, table, unit, torch.tensor(False)))
    yield Case("strided", (samples.s8(6, 8).t()[::2], table, unit, (samples.s8(6, 4, seed=1) > 0).t()))
    yield Case("attention 4x128x128", (samples.s8(4, 128, 128), table, unit), layer=True)


def cost(x: Tensor, table: Tensor, output_scale: float, mask: Tensor | None = None) -> Cost:  # noqa: ARG001
    """One tensor in, one out, the table and the mask."""
    return Cost(macs=0, bytes=2 * x.numel() + table.nbytes + (0 if mask is None else mask.nbytes))


OP = OpSpec(
    name="softmax_s8",
    schema="(Tensor x, Tensor table, float output_scale, Tensor? mask=None) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "avx2", "avx512vnni", "neondot", "triton"),
)
