"""The gradient of ``fake_quantize``: straight through for ``x``, and that of learned step sizes for ``scale``.

With ``v = x / scale`` and ``q = rne(v)``, an element is inside where ``lo <= q <= hi``. There the gradient of x is the
one that comes in, elsewhere and for NaN it is 0 (Bengio et al., "Estimating or propagating gradients through stochastic
neurons", 2013). The slope of the result in ``scale`` is ``q - v`` inside, ``lo`` below and ``hi`` above, 0 for NaN
(Esser et al., "Learned step size quantization", 2020, equation 3; where x is within half a step outside of a bound, x
moves and so does this gradient, as in torch's ``_fake_quantize_learnable_per_tensor_affine``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from edgekit.ops import checks, numerics, quantize_s8, samples, sums
from edgekit.ops.spec import Case, Cost, OpSpec


def reference(
    gradient: Tensor,
    x: Tensor,
    scale: Tensor,
    axis: int | None = None,
    lo: int = -128,
    hi: int = 127,
    of_scale: bool = True,
) -> tuple[Tensor, Tensor]:
    """Both gradients; a product of ``gradient`` and slope is exact in float64, and :mod:`~edgekit.ops.sums` adds them.

    Args:
        gradient: float32, of the result; of the shape of ``x``.
        x, scale, axis, lo, hi: as of :func:`edgekit.ops.fake_quantize.reference`.
        of_scale: whether the scale is learned.

    Returns:
        float32 of the shape of ``x``; float32 of the shape of ``scale``, or [0] where that is not asked for.
    """
    inside, slope = slopes(x, scale, axis, lo, hi)
    of_x = torch.where(inside, gradient, torch.zeros_like(gradient))
    if not of_scale:
        return of_x, scale.new_empty(0)
    terms = gradient.double() * slope.double()
    return of_x, sums.ordered(sums.by_channel(terms, axis)).float().reshape(scale.shape)


def slopes(x: Tensor, scale: Tensor, axis: int | None, lo: int, hi: int) -> tuple[Tensor, Tensor]:
    """Where the slope in ``x`` is 1, and the slope in ``scale``: ``q - v`` is exact in float32, v being near q."""
    quotient = x / numerics.along(scale, axis, x.dim())
    steps = quotient.round()
    inside = (steps >= lo) & (steps <= hi)
    return inside, torch.where(inside, steps - quotient, steps.clamp(lo, hi)).nan_to_num(0.0)


def shape(
    gradient: Tensor,
    x: Tensor,
    scale: Tensor,
    axis: int | None = None,
    lo: int = -128,
    hi: int = 127,
    of_scale: bool = True,
) -> tuple[Tensor, Tensor]:
    """Check the arguments; float32 of the shapes of ``x`` and of ``scale``."""
    checks.tensor("fake_quantize_backward", "gradient", gradient, torch.float32, x)
    checks.tensor("fake_quantize_backward", "x", x, torch.float32, x)
    checks.size("fake_quantize_backward", "gradient", gradient, x.shape)
    checks.scale("fake_quantize_backward", scale, x, axis)
    checks.bounds("fake_quantize_backward", lo, hi)
    of_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    return of_x, scale.new_empty(scale.shape if of_scale else 0)


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: ARG001
    """Keep what the gradient of the gradient needs."""
    _, x, scale, *ctx.options = inputs
    ctx.save_for_backward(x, scale)


def backward(ctx: Any, of_x: Tensor, of_scale: Tensor) -> tuple[Tensor | None, ...]:
    """Of ``gradient``, in which both results are linear; the slopes count as constants."""
    x, scale = ctx.saved_tensors
    axis, lo, hi, asked = ctx.options
    inside, slope = slopes(x, scale, axis, lo, hi)
    result = torch.where(inside, of_x, torch.zeros_like(of_x))
    if asked:
        result = result + slope * numerics.along(of_scale, axis, x.dim())
    return result, *[None] * (2 + len(ctx.options))


def case(name: str, x: Tensor, scale: Tensor, *rest: Any, layer: bool = False) -> Case:
    """Gradients of both signs and of many magnitudes."""
    gradient = samples.f32(*x.shape, seed=5) * torch.exp2(samples.f32(*x.shape, seed=6, spread=4))
    return Case(name, (gradient, x, scale, *rest), layer=layer)


def cases() -> Iterator[Case]:
    """The inputs of quantize_s8 with the scale's gradient and without; sums of several chunks, and along channels."""
    for one in quantize_s8.cases():
        yield case(one.name, *one.args, layer=one.layer)
    x = samples.f32(3, 5, 7, spread=3)
    yield case("of x alone", x, torch.tensor([0.05]), None, -128, 127, False)
    yield case("of x alone, per channel", x, samples.positive(5, middle=0.05), 1, -127, 127, False)
    yield case("scalar scale", samples.f32(300), torch.tensor(0.02))
    for length in (255, 257, 4095, 4096, 4097, 9000):
        yield case(f"sum of {length}", samples.f32(length, seed=1), torch.tensor([0.01]))
    yield case("several chunks, per channel", samples.f32(3, 4, 3000), samples.positive(4, middle=0.01), 1, -127, 127)


def cost(
    gradient: Tensor,
    x: Tensor,
    scale: Tensor,
    axis: int | None = None,
    lo: int = -128,
    hi: int = 127,
    of_scale: bool = True,
) -> Cost:
    """Reads two tensors, writes one, and what there is for each channel."""
    _, slope = shape(gradient, x, scale, axis, lo, hi, of_scale)
    return Cost(macs=0, bytes=gradient.nbytes + 2 * x.nbytes + scale.nbytes + slope.nbytes)


OP = OpSpec(
    name="fake_quantize_backward",
    schema="(Tensor gradient, Tensor x, Tensor scale, int? axis=None, int lo=-128, int hi=127, bool of_scale=True)"
    " -> (Tensor, Tensor)",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "avx2", "avx512vnni", "neondot", "triton"),
)
