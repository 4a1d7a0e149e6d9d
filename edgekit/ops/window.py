"""Sliding windows: how many fit, as torch counts them for convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from edgekit.errors import UsageError

Pair: TypeAlias = "list[int] | tuple[int, ...]"  # height, width; torch passes lists


def count(size: int, kernel: int, stride: int, padding: int, dilation: int = 1, ceil_mode: bool = False) -> int:
    """Windows along one axis; with ``ceil_mode`` the last may hang over, but starts before the right padding."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    windows = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (windows - 1) * stride >= size + padding:
        windows -= 1
    return windows


def output_size(
    operator: str,
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Pair,
    padding: Pair,
    dilation: Pair = (1, 1),
    ceil_mode: bool = False,
) -> tuple[int, int]:
    """Windows along height and width.

    Raises:
        UsageError: where not one window fits.
    """
    sizes = [count(*axis, ceil_mode) for axis in zip(size, kernel, stride, padding, dilation, strict=True)]
    if min(sizes) < 1:
        raise UsageError(
            f"{operator}: no window of {tuple(kernel)} fits an input of {tuple(size)} padded by {tuple(padding)}."
        )
    return sizes[0], sizes[1]
