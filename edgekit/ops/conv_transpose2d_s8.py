"""Transposed 2-D convolution, int8 to int8: every input spreads a kernel over the output, sums are requantised once."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor
from torch.nn import functional

from edgekit.errors import UsageError
from edgekit.ops import checks, numerics, samples
from edgekit.ops.linear_s8 import channel_vectors
from edgekit.ops.spec import Case, Cost, OpSpec
from edgekit.ops.window import Pair

NAME = "conv_transpose2d_s8"


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    stride: Pair,
    padding: Pair,
    output_padding: Pair,
    groups: int,
    dilation: Pair,
    lo: int = -128,
    hi: int = 127,
) -> Tensor:
    """Exact products and sums in float64, one requantisation; a bias may wrap the accumulator modulo 2^32.

    Args:
        x: int8 [N, I, H, W].
        weight: int8 [I, O / groups, kh, kw], a fan-in of at most 131,071.
        bias: int32 [O]; multiplier: float32 [O].
        stride, padding, output_padding, dilation: two numbers, of height and width.
        groups: divides I and O.
        lo, hi: bounds of the result.
    """
    wide = x.double(), weight.double()
    sums = functional.conv_transpose2d(*wide, None, stride, padding, output_padding, groups, dilation)
    return numerics.requantize(sums.long() + bias.long().view(-1, 1, 1), multiplier.view(-1, 1, 1), lo, hi)


def shape(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    stride: Pair,
    padding: Pair,
    output_padding: Pair,
    groups: int,
    dilation: Pair,
    lo: int = -128,
    hi: int = 127,
) -> Tensor:
    """Check the arguments; int8 [N, O, rows, columns]."""
    _check_layer(x, weight, groups)
    channels = weight.shape[1] * groups
    channel_vectors(NAME, x, bias, multiplier, channels)
    checks.bounds(NAME, lo, hi)
    checks.pair(NAME, "stride", stride, 1)
    checks.pair(NAME, "padding", padding, 0)
    checks.pair(NAME, "output_padding", output_padding, 0)
    checks.pair(NAME, "dilation", dilation, 1)
    axes = zip(x.shape[2:], weight.shape[2:], stride, padding, output_padding, dilation, strict=True)
    return checks.empty((x.shape[0], channels, *(_size(*axis) for axis in axes)), x)


def _check_layer(x: Tensor, weight: Tensor, groups: int) -> None:
    checks.images(NAME, x)
    checks.tensor(NAME, "weight", weight, x.dtype, x)
    checks.rank(NAME, "weight", weight, 4)
    checks.integer(NAME, "groups", groups, 1)
    if min(weight.shape) < 1 or weight.shape[0] % groups or x.shape[1] != weight.shape[0]:
        raise UsageError(
            f"{NAME}: weight of shape {tuple(weight.shape)} and groups {groups} do not fit x of shape {tuple(x.shape)}."
        )
    numerics.check_reduction(weight.shape[0] // groups * weight.shape[2] * weight.shape[3])


def _size(size: int, kernel: int, stride: int, padding: int, more: int, dilation: int) -> int:
    if more >= max(stride, dilation):
        raise UsageError(f"{NAME}: output_padding {more} must be below stride {stride} or dilation {dilation}.")
    result = (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + more + 1
    if result < 1:
        raise UsageError(f"{NAME}: padding {padding} leaves nothing of the output.")
    return result


def case(
    name: str,
    image: tuple[int, int, int, int],
    filters: int,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    output_padding: tuple[int, int] = (0, 0),
    groups: int = 1,
    dilation: tuple[int, int] = (1, 1),
    bounds: tuple[int, int] = (-128, 127),
    layer: bool = False,
) -> Case:
    """A layer whose results fill the int8 range."""
    weight = samples.s8(image[1], filters // groups, *kernel).clamp(min=-127)
    middle = 64 / (5000 * (image[1] // groups * kernel[0] * kernel[1]) ** 0.5)
    vectors = samples.s32(filters), samples.positive(filters, middle=middle)
    geometry = (stride, padding, output_padding, groups, dilation)
    return Case(name, (samples.s8(*image), weight, *vectors, *geometry, *bounds), layer=layer)


def cases() -> Iterator[Case]:
    """Ones, strides with gaps, paddings, groups, depthwise, dilation, one row, no images."""
    yield case("1x1", (1, 1, 1, 1), 1, (1, 1))
    yield case("doubling", (2, 3, 5, 7), 4, (4, 4), (2, 2), (1, 1))
    yield case("gaps", (1, 2, 4, 3), 3, (2, 2), (3, 3), output_padding=(1, 2))
    yield case("uneven", (1, 3, 5, 4), 5, (3, 2), (1, 2), (1, 0), bounds=(0, 90))
    yield case("groups", (1, 6, 4, 4), 4, (3, 3), (2, 2), (1, 1), (1, 1), 2)
    yield case("depthwise, dilated", (1, 5, 6, 6), 5, (3, 3), (1, 1), (2, 2), groups=5, dilation=(2, 2))
    yield case("one row", (2, 4, 1, 9), 3, (1, 3), (1, 2))
    yield case("wide strides", (1, 2, 3, 3), 2, (5, 3), (4, 3), (3, 2), (1, 0), dilation=(2, 3))
    yield case("padding that cuts", (1, 2, 6, 5), 3, (2, 3), (1, 2), (2, 3))
    last = case("", (2, 3, 5, 4), 4, (3, 3), (2, 2), (1, 1), (1, 1)).args
    yield Case("channels last", (samples.channels_last(last[0]), *last[1:]))
    yield case("no images", (0, 2, 4, 4), 2, (2, 2))
    yield case("decoder 32x28x28", (1, 32, 28, 28), 16, (4, 4), (2, 2), (1, 1), layer=True)


def cost(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    stride: Pair,
    padding: Pair,
    output_padding: Pair,
    groups: int,
    dilation: Pair,
    lo: int = -128,
    hi: int = 127,
) -> Cost:
    """Every input value meets the whole kernel of its group."""
    out = shape(x, weight, bias, multiplier, stride, padding, output_padding, groups, dilation, lo, hi).numel()
    moved = x.nbytes + weight.nbytes + bias.nbytes + multiplier.nbytes + out
    return Cost(macs=x.numel() * weight[0].numel(), bytes=moved)


OP = OpSpec(
    name=NAME,
    schema="(Tensor x, Tensor weight, Tensor bias, Tensor multiplier, int[2] stride, int[2] padding, "
    "int[2] output_padding, int groups, int[2] dilation, int lo=-128, int hi=127) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "triton"),
)
