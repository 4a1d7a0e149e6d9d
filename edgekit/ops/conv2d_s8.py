"""``y[n, o, i, j] = sat8(rne(float32(sum x * w[o] + b[o]) * m[o]))``: 2-D convolution, int8 to int8, padded with 0."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.errors import UsageError
from edgekit.ops import checks, epilogue, numerics, samples, window
from edgekit.ops.epilogue import Epilogue
from edgekit.ops.linear_s8 import channel_vectors
from edgekit.ops.spec import Case, Cost, OpSpec
from edgekit.ops.window import Pair


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    lo: int = -128,
    hi: int = 127,
    *after: Any,
) -> Tensor:
    """Exact products and sums in float64, one requantisation; a bias may wrap the accumulator modulo 2^32.

    Args:
        x: int8 [N, I, H, W].
        weight: int8 [O, I / groups, kh, kw], a fan-in of at most 131,071.
        bias: int32 [O]; multiplier: float32 [O].
        stride, padding, dilation: two numbers, of height and width.
        groups: divides I and O; I for depthwise.
        lo, hi: bounds of the result; a quantised ReLU or ReLU6.
        after: what follows, an :class:`~edgekit.ops.epilogue.Epilogue`.
    """
    products = functional.conv2d(x.double(), weight.double(), None, stride, padding, dilation, groups)
    accumulator = products.long() + bias.long().view(-1, 1, 1)
    return Epilogue(*after).of(numerics.requantize(accumulator, multiplier.view(-1, 1, 1), lo, hi))


def shape(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    lo: int = -128,
    hi: int = 127,
    *after: Any,
) -> Tensor:
    """Check the arguments; int8 [N, O, rows, columns]."""
    checks.images("conv2d_s8", x)
    checks.tensor("conv2d_s8", "weight", weight, torch.int8, x)
    checks.rank("conv2d_s8", "weight", weight, 4)
    for name, values, least in (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1)):
        checks.pair("conv2d_s8", name, values, least)
    _check_channels(x, weight, groups)
    channel_vectors("conv2d_s8", x, bias, multiplier, weight.shape[0])
    numerics.check_reduction(weight[0].numel())
    checks.bounds("conv2d_s8", lo, hi)
    size = window.output_size("conv2d_s8", x.shape[2:], weight.shape[2:], stride, padding, dilation)
    return Epilogue(*after).check("conv2d_s8", checks.empty((x.shape[0], weight.shape[0], *size), x))


def _check_channels(x: Tensor, weight: Tensor, groups: int) -> None:
    checks.integer("conv2d_s8", "groups", groups, 1)
    if min(weight.shape) < 1:
        raise UsageError(f"conv2d_s8: weight of shape {tuple(weight.shape)} is empty.")
    if x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        channels = f"{x.shape[1]} input channels, weight {tuple(weight.shape)} and {groups} groups"
        raise UsageError(
            f"conv2d_s8: {channels} do not fit.", fix="weight is [O, I / groups, kh, kw] and groups divides O."
        )


def case(
    name: str,
    image: tuple[int, int, int, int],
    out_channels: int,
    kernel: tuple[int, int] = (3, 3),
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    bounds: tuple[int, int] = (-128, 127),
    layer: bool = False,
) -> Case:
    """A layer whose results spread over the whole of int8."""
    weight = samples.s8(out_channels, image[1] // groups, *kernel, seed=1)
    multiplier = samples.positive(out_channels, middle=40 / (5461 * weight[0].numel() ** 0.5))
    args = (
        samples.s8(*image),
        weight,
        samples.s32(out_channels),
        multiplier,
        stride,
        padding,
        dilation,
        groups,
        *bounds,
    )
    return Case(name, args, layer=layer)


def cases() -> Iterator[Case]:
    """Ones, primes, strides, dilation, padding past the input, groups, depthwise, bounds, extremes, no images."""
    yield case("1x1", (1, 1, 1, 1), 1, (1, 1))
    yield case("pointwise", (2, 5, 7, 3), 11, (1, 1))
    yield case("3x3 same", (2, 3, 8, 8), 5, padding=(1, 1))
    yield case("stride 2", (1, 4, 9, 11), 6, stride=(2, 2), padding=(1, 1))
    yield case("uneven", (1, 3, 13, 7), 2, (5, 2), (3, 1), (0, 2), (1, 3))
    yield case("padding wider than the input", (1, 2, 2, 2), 3, padding=(4, 5))
    yield case("dilated", (1, 2, 11, 11), 3, padding=(2, 2), dilation=(2, 2))
    yield case("grouped", (2, 6, 5, 5), 9, groups=3, padding=(1, 1))
    yield case("depthwise", (1, 7, 6, 6), 7, groups=7, padding=(1, 1), bounds=(0, 127))
    yield case("depthwise, two filters each, ReLU6", (1, 5, 6, 6), 10, groups=5, stride=(2, 1), bounds=(0, 96))
    yield case("height 1", (1, 3, 1, 29), 4, (1, 7), (1, 2), (0, 3))
    yield case("no images", (0, 3, 5, 5), 2)
    low, high = torch.full((1, 9, 5, 5), -128, dtype=torch.int8), torch.full((4, 9, 3, 3), -127, dtype=torch.int8)
    ends = torch.tensor([-(2**31), 2**31 - 1, 0, 1], dtype=torch.int32)
    yield Case("extremes", (low, high, ends, torch.tensor([1e-7, 1e-7, 1e-4, 1e30]), (1, 1), (1, 1), (1, 1), 1))
    last = case("channels last", (2, 4, 6, 5), 3).args
    yield Case("channels last", (samples.channels_last(last[0]), last[1].flip(0), *last[2:]))
    yield from epilogue.cases(case("3x3", (2, 3, 8, 8), 5, padding=(1, 1)), (2, 5, 8, 8))
    yield from epilogue.cases(case("depthwise 3x3", (1, 7, 6, 6), 7, groups=7, bounds=(0, 127)), (1, 7, 4, 4))
    yield case("block 32x16x16 3x3", (1, 32, 16, 16), 32, padding=(1, 1), bounds=(0, 127), layer=True)
    yield case("pointwise 64x28x28", (1, 64, 28, 28), 64, (1, 1), layer=True)
    yield case("depthwise 64x28x28 3x3", (1, 64, 28, 28), 64, padding=(1, 1), groups=64, layer=True)


def cost(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    lo: int = -128,
    hi: int = 127,
    *after: Any,
) -> Cost:
    """Output values times fan-in, padding counted."""
    out = shape(x, weight, bias, multiplier, stride, padding, dilation, groups, lo, hi, *after).numel()
    read = x.nbytes + weight.nbytes + bias.nbytes + multiplier.nbytes + Epilogue(*after).bytes
    return Cost(macs=out * weight[0].numel(), bytes=read + out)


OP = OpSpec(
    name="conv2d_s8",
    schema="(Tensor x, Tensor weight, Tensor bias, Tensor multiplier, int[2] stride, int[2] padding, int[2] dilation, "
    f"int groups, int lo=-128, int hi=127, {epilogue.SCHEMA}) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "avx2", "avx512vnni", "neondot", "triton"),
)
