"""``y = sat8(rne(x / scale)) * scale``: the values that INT8 can hold, in float32, with a straight-through gradient.

The one sign of precision in a Graph: training, export and lowering all read these nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from edgekit.ops import checks, numerics, quantize_s8
from edgekit.ops.spec import Case, Cost, OpSpec


def reference(x: Tensor, scale: Tensor, axis: int | None = None, lo: int = -128, hi: int = 127) -> Tensor:
    """Quantise and come back; arguments as of :func:`edgekit.ops.quantize_s8.reference`."""
    return numerics.dequantize(numerics.quantize(x, scale, axis, lo, hi), scale, axis)


def shape(x: Tensor, scale: Tensor, axis: int | None = None, lo: int = -128, hi: int = 127) -> Tensor:
    """Check the arguments; float32 of the shape of ``x``."""
    checks.tensor("fake_quantize", "x", x, torch.float32, x)
    checks.scale("fake_quantize", scale, x, axis)
    checks.bounds("fake_quantize", lo, hi)
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    """Keep what the gradient needs: the mask depends on ``x`` and ``scale`` alone."""
    x, scale, ctx.axis, ctx.lo, ctx.hi = inputs
    ctx.save_for_backward(x, scale)


def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """Straight through where the rounded quotient lies within the bounds, 0 outside and for NaN; none for the scale.

    Source: Bengio et al., "Estimating or propagating gradients through stochastic neurons", 2013.
    """
    x, scale = ctx.saved_tensors
    steps = (x / numerics.along(scale, ctx.axis, x.dim())).round()
    inside = (steps >= ctx.lo) & (steps <= ctx.hi)
    return torch.where(inside, gradient, torch.zeros_like(gradient)), None, None, None, None


def cases() -> Iterator[Case]:
    """The same inputs as quantize_s8."""
    yield from quantize_s8.cases()


def cost(x: Tensor, scale: Tensor, axis: int | None = None, lo: int = -128, hi: int = 127) -> Cost:  # noqa: ARG001
    """Reads floats, writes floats."""
    return Cost(macs=0, bytes=2 * x.nbytes + scale.nbytes)


OP = OpSpec(
    name="fake_quantize",
    schema="(Tensor x, Tensor scale, int? axis=None, int lo=-128, int hi=127) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
)
