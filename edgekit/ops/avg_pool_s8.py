"""``y = sat8(rne(float32(sum of the window) * multiplier[n]))``, n torch's divisor for that window."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.ops import checks, numerics, samples, window
from edgekit.ops.spec import Case, Cost, OpSpec
from edgekit.ops.window import Pair


def reference(
    x: Tensor,
    multiplier: Tensor,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    lo: int = -128,
    hi: int = 127,
) -> Tensor:
    """Exact sums in float64, one requantisation.

    Args:
        x: int8 [N, C, H, W].
        multiplier: float32 [kh * kw + 1], of :func:`edgekit.ops.numerics.pool_multipliers`.
        kernel, stride, padding: two numbers, of height and width; padding at most half the kernel.
        ceil_mode: let the last window hang over, as torch does; what hangs over never counts.
        count_include_pad: padding counts in n.
        lo, hi: bounds of the result.
    """
    total = functional.avg_pool2d(x.double(), kernel, stride, padding, ceil_mode, divisor_override=1)
    ones = torch.ones(1, 1, *x.shape[2:], dtype=torch.float64, device=x.device)
    if count_include_pad:
        ones, padding = functional.pad(ones, [padding[1], padding[1], padding[0], padding[0]], value=1.0), (0, 0)
    n = functional.avg_pool2d(ones, kernel, stride, padding, ceil_mode, divisor_override=1).long()
    n = n[..., : total.shape[2], : total.shape[3]]  # padded by hand, one more window may start in the right padding
    return numerics.requantize(total, multiplier[n], lo, hi)


def shape(
    x: Tensor,
    multiplier: Tensor,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,  # noqa: ARG001
    lo: int = -128,
    hi: int = 127,
) -> Tensor:
    """Check the arguments; int8 [N, C, rows, columns]."""
    checks.images("avg_pool_s8", x)
    checks.pair("avg_pool_s8", "kernel", kernel, 1)
    checks.pair("avg_pool_s8", "stride", stride, 1)
    checks.pair("avg_pool_s8", "padding", padding, 0)
    for pad, taps in zip(padding, kernel, strict=True):
        checks.integer("avg_pool_s8", "padding", pad, 0, taps // 2)
    numerics.check_reduction(kernel[0] * kernel[1])
    checks.tensor("avg_pool_s8", "multiplier", multiplier, torch.float32, x)
    checks.size("avg_pool_s8", "multiplier", multiplier, (kernel[0] * kernel[1] + 1,))
    checks.bounds("avg_pool_s8", lo, hi)
    size = window.output_size("avg_pool_s8", x.shape[2:], kernel, stride, padding, ceil_mode=ceil_mode)
    return checks.empty((*x.shape[:2], *size), x)


def case(
    name: str,
    image: tuple[int, int, int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int] = (0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
    layer: bool = False,
) -> Case:
    """A pool between scales that differ by 3 / 4."""
    scales = torch.tensor([0.03]), torch.tensor([0.04])
    multiplier = numerics.pool_multipliers(*scales, kernel[0] * kernel[1], divisor)
    return Case(
        name, (samples.s8(*image), multiplier, kernel, stride, padding, ceil_mode, count_include_pad), layer=layer
    )


def cases() -> Iterator[Case]:
    """Ones, primes, global, ties, padding counted or not, hanging windows, a fixed divisor, no images."""
    yield case("1x1", (1, 1, 1, 1), (1, 1), (1, 1))
    yield case("global 8x8", (2, 3, 8, 8), (8, 8), (8, 8))
    ties = torch.tensor([1.0, 1.0, 0.5, 1 / 3, 0.25])
    yield Case("ties", (samples.s8(2, 4, 16, 16), ties, (2, 2), (2, 2), (0, 0), False, True))
    for include in (False, True):
        yield case(f"3x3 padded, counted {include}", (1, 3, 7, 9), (3, 3), (2, 2), (1, 1), False, include)
        yield case(f"hanging, counted {include}", (1, 2, 8, 11), (3, 4), (3, 2), (1, 2), True, include)
        yield case(f"uneven, counted {include}", (1, 2, 13, 5), (5, 2), (1, 3), (2, 1), True, include)
    yield case("fixed divisor", (1, 2, 6, 6), (3, 3), (2, 2), (1, 1), divisor=4)
    transposed = case("", (1, 2, 6, 5), (2, 2), (1, 1)).args
    yield Case("transposed, bounded", (transposed[0].transpose(2, 3), *transposed[1:], -10, 10))
    last = case("3x3", (2, 3, 7, 9), (3, 3), (2, 2), (1, 1), False, True).args
    yield Case("channels last", (samples.channels_last(last[0]), *last[1:]))
    yield case("no images", (0, 2, 4, 4), (2, 2), (2, 2))
    yield case("head 512x7x7", (1, 512, 7, 7), (7, 7), (7, 7), layer=True)


def cost(
    x: Tensor,
    multiplier: Tensor,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    lo: int = -128,
    hi: int = 127,
) -> Cost:
    """One tensor in, one out."""
    out = shape(x, multiplier, kernel, stride, padding, ceil_mode, count_include_pad, lo, hi).numel()
    return Cost(macs=0, bytes=x.nbytes + multiplier.nbytes + out)


OP = OpSpec(
    name="avg_pool_s8",
    schema="(Tensor x, Tensor multiplier, int[2] kernel, int[2] stride, int[2] padding, bool ceil_mode, "
    "bool count_include_pad, int lo=-128, int hi=127) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "avx2", "avx512vnni", "neondot", "triton"),
)
