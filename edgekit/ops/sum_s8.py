"""``y = sat8(rne(float32(sum) * (sx / (float32(n) * sy))))``: sums (n = 1) and means over whole axes, of any length."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from edgekit.errors import NumericsError, UsageError
from edgekit.ops import checks, numerics, samples
from edgekit.ops.spec import Case, Cost, OpSpec

MOST = 2**24  # values in one sum: below, their number is exact in float32 and their sum in int32


def reference(
    x: Tensor,
    dim: Sequence[int],
    keepdim: bool,
    mean: bool,
    input_scale: float,
    output_scale: float,
    lo: int = -128,
    hi: int = 127,
) -> Tensor:
    """Exact sums, one requantisation.

    Args:
        x: int8, any shape.
        dim: the axes that are summed over, fewer than 2^24 values in all.
        keepdim: they stay, with size 1.
        mean: n is their number of values.
        input_scale, output_scale: ``sx`` and ``sy``, float32.
        lo, hi: bounds of the result.
    """
    sx, sy = torch.tensor([input_scale, output_scale], dtype=torch.float32, device=x.device)
    n = float(math.prod(x.shape[d] for d in dim)) if mean else 1.0
    return numerics.requantize(x.int().sum(tuple(dim), keepdim) if dim else x, sx / (n * sy), lo, hi)


def shape(
    x: Tensor,
    dim: Sequence[int],
    keepdim: bool,
    mean: bool,  # noqa: ARG001
    input_scale: float,
    output_scale: float,
    lo: int = -128,
    hi: int = 127,
) -> Tensor:
    """Check the arguments; int8 without the axes summed over, or with size 1 there."""
    checks.tensor("sum_s8", "x", x, torch.int8, x)
    for d in dim:
        checks.integer("sum_s8", "dim", d, -x.dim(), x.dim() - 1)
    axes = {d % x.dim() for d in dim}
    if len(axes) != len(dim) or x.dim() > 8:
        raise UsageError(f"sum_s8: dim {list(dim)} names an axis twice, or x has over 8 dimensions.")
    count = math.prod(x.shape[d] for d in axes)
    if isinstance(count, int) and not 1 <= count < MOST:  # a traced symbol is checked at each run
        raise NumericsError(f"sum_s8: {count} values in one sum; it needs one at least and fewer than 2^24.")
    checks.normal("sum_s8", "input_scale", input_scale)
    checks.normal("sum_s8", "output_scale", output_scale)
    checks.bounds("sum_s8", lo, hi)
    sizes = [1 if d in axes else size for d, size in enumerate(x.shape) if keepdim or d not in axes]
    return x.new_empty(sizes)


def cases() -> Iterator[Case]:
    """One axis and several, first and last, kept or not, ties, strides, nothing at all."""
    x = samples.s8(3, 5, 4, 7)
    for dim in ([0], [1], [-1], [2, 3], [0, 2], [1, 2, 3], [0, 1, 2, 3]):
        for mean in (False, True):
            yield Case(f"over {dim}, mean {mean}", (x, dim, mean, mean, 0.03, 0.04 if mean else 0.2))
    yield Case("ties", (samples.s8(40, 2), [1], False, True, 1.0, 1.0))
    yield Case("transposed, bounded", (samples.s8(6, 5, 4).transpose(0, 2), [1], True, True, 1.0, 0.5, -10, 10))
    yield Case("no rows", (samples.s8(0, 4), [1], False, True, 0.1, 0.1))
    yield Case("steps 96x64", (samples.s8(1, 96, 64), [1], False, True, 0.02, 0.01), layer=True)


def cost(
    x: Tensor,
    dim: Sequence[int],
    keepdim: bool,
    mean: bool,
    input_scale: float,
    output_scale: float,
    lo: int = -128,
    hi: int = 127,
) -> Cost:
    """One tensor in, one out."""
    out = shape(x, dim, keepdim, mean, input_scale, output_scale, lo, hi).numel()
    return Cost(macs=0, bytes=x.numel() + out)


OP = OpSpec(
    name="sum_s8",
    schema="(Tensor x, int[] dim, bool keepdim, bool mean, float input_scale, float output_scale, int lo=-128, "
    "int hi=127) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "avx2", "avx512vnni", "neondot", "triton"),
)
