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
    """Keep what the gradient needs: it depends on ``x`` and ``scale`` alone."""
    x, scale, *ctx.options = inputs
    ctx.save_for_backward(x, scale)


def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """Of ``x``, and of a scale that is learned: :mod:`edgekit.ops.fake_quantize_backward`."""
    x, scale = ctx.saved_tensors
    learned = ctx.needs_input_grad[1]
    of_x, of_scale = torch.ops.edgekit.fake_quantize_backward(gradient, x, scale, *ctx.options, learned)
    return of_x, of_scale if learned else None, None, None, None


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
    tiers=("ref", "avx2", "avx512vnni", "neondot", "triton"),
)
