"""``y = max of each window``, padded with -128: moves bytes, so the scale stays."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.ops import checks, samples, window
from edgekit.ops.numerics import S8_MIN
from edgekit.ops.spec import Case, Cost, OpSpec
from edgekit.ops.window import Pair


def reference(
    x: Tensor,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
) -> Tensor:
    """Largest value of each window; a window of padding alone gives -128.

    Args:
        x: int8 [N, C, H, W].
        kernel, stride, padding, dilation: two numbers, of height and width; padding at most half the kernel.
        ceil_mode: let the last window hang over, as torch does.
    """
    largest: Tensor = functional.max_pool2d(x.float(), kernel, stride, padding, dilation, ceil_mode)
    return largest.clamp(min=S8_MIN).to(torch.int8)


def shape(
    x: Tensor,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
) -> Tensor:
    """Check the arguments; int8 [N, C, rows, columns]."""
    checks.images("max_pool_s8", x)
    for name, values, least in (("kernel", kernel, 1), ("stride", stride, 1), ("dilation", dilation, 1)):
        checks.pair("max_pool_s8", name, values, least)
    checks.pair("max_pool_s8", "padding", padding, 0)
    for pad, taps in zip(padding, kernel, strict=True):
        checks.integer("max_pool_s8", "padding", pad, 0, taps // 2)
    size = window.output_size("max_pool_s8", x.shape[2:], kernel, stride, padding, dilation, ceil_mode)
    return checks.empty((*x.shape[:2], *size), x)


def cases() -> Iterator[Case]:
    """Ones, primes, overlap, gaps, padding, dilation, hanging windows, windows of padding alone, no images."""
    yield Case("1x1", (samples.s8(1, 1, 1, 1), (1, 1), (1, 1), (0, 0), (1, 1), False))
    yield Case("2x2", (samples.s8(2, 3, 8, 8), (2, 2), (2, 2), (0, 0), (1, 1), False))
    yield Case("2x2 of 7x5, hanging", (samples.s8(1, 3, 7, 5), (2, 2), (2, 2), (0, 0), (1, 1), True))
    yield Case("3x3 stride 2", (samples.s8(1, 5, 11, 13), (3, 3), (2, 2), (1, 1), (1, 1), True))
    yield Case("uneven", (samples.s8(1, 2, 13, 9), (5, 2), (1, 3), (2, 0), (1, 2), False))
    yield Case("gaps", (samples.s8(1, 2, 9, 9), (1, 2), (4, 5), (0, 1), (1, 1), True))
    yield Case("dilated", (samples.s8(1, 2, 9, 9), (3, 3), (1, 1), (1, 1), (2, 2), False))
    yield Case("padding alone", (samples.s8(1, 1, 1, 1), (2, 2), (1, 1), (1, 1), (2, 2), False))
    lowest = torch.full((1, 1, 3, 3), -128, dtype=torch.int8)
    yield Case("all -128", (lowest, (3, 3), (1, 1), (1, 1), (1, 1), False))
    yield Case("transposed", (samples.s8(1, 2, 6, 5).transpose(2, 3), (2, 2), (1, 1), (0, 0), (1, 1), False))
    last = samples.channels_last(samples.s8(2, 3, 7, 9))
    yield Case("channels last", (last, (3, 3), (2, 2), (1, 1), (1, 1), False))
    yield Case("no images", (samples.s8(0, 2, 4, 4), (2, 2), (2, 2), (0, 0), (1, 1), False))
    yield Case("stem 64x56x56", (samples.s8(1, 64, 56, 56), (3, 3), (2, 2), (1, 1), (1, 1), False), layer=True)


def cost(
    x: Tensor,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
) -> Cost:
    """One tensor in, one out."""
    return Cost(macs=0, bytes=x.nbytes + shape(x, kernel, stride, padding, dilation, ceil_mode).numel())


OP = OpSpec(
    name="max_pool_s8",
    schema="(Tensor x, int[2] kernel, int[2] stride, int[2] padding, int[2] dilation, bool ceil_mode) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "avx2", "avx512vnni", "neondot", "triton"),
)
