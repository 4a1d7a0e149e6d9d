"""A transposed convolution as plain ones: results that are a stride apart meet the same taps of the window.

So the first of every stride, the second, and so on are each a convolution of the input with a part of every filter,
turned around. Nothing is multiplied by the zeros that are said to lie between inputs. There are as many convolutions as
pixels in a stride: four of nearly all decoders, 1024 of one that enlarges by 32. No triton here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple


class Phase(NamedTuple):
    """Every ``stride``-th result along one axis.

    Attributes:
        first: the first of them.
        stride: from one to the next.
        results: how many.
        last_tap: the last tap that they meet, and the first of the convolution; the others are ``tap_step`` apart.
        tap_step: as it is said.
        taps: how many.
        padding: of the convolution, in front; less than 0 where it begins inside.
        dilation: of the convolution.
    """

    first: int
    stride: int
    results: int
    last_tap: int
    tap_step: int
    taps: int
    padding: int
    dilation: int


def phases(results: int, kernel: int, stride: int, padding: int, dilation: int) -> Iterator[Phase]:
    """The phases of one axis: result ``i`` reads input ``(i + padding - tap * dilation) / stride`` where that is whole.

    Args:
        results: along the axis.
        kernel, stride, padding, dilation: of the transposed convolution.
    """
    tap_step = stride // math.gcd(stride, dilation)
    for first in range(min(stride, results)):
        meeting = (tap for tap in range(min(tap_step, kernel)) if (first + padding - tap * dilation) % stride == 0)
        begin = next(meeting, None)
        taps = 0 if begin is None else len(range(begin, kernel, tap_step))
        last = 0 if begin is None else begin + (taps - 1) * tap_step
        before = (last * dilation - first - padding) // stride
        yield Phase(
            first,
            stride,
            len(range(first, results, stride)),
            last,
            tap_step,
            taps,
            before,
            tap_step * dilation // stride,
        )
