"""Layer norm over the channels of a group and all positions; with a group for each channel it is instance norm.

A group of one item is a row: its channels and their positions lie side by side. Two passes over a row, of which one
reads the caches: exact int64 sums, then the results. Square root and division are float64, one of each for a row.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels import rows as sets
from edgekit.kernels.launch import Capability, Launch, capability_of, run
from edgekit.kernels.requant import saturate
from edgekit.kernels.rows import Config, heuristic

__all__ = ["Config", "group_norm_s8", "heuristic", "plan"]


@triton.jit
def group_norm_s8_kernel(
    x,  # int8 [rows, length]
    gain,  # float32 [groups * channels]
    offset,  # float32 [groups * channels]
    out,  # int8 [rows, length]
    rows,
    length,
    groups,
    channels,  # of a group
    positions,  # of a channel
    scale,  # float64 as bits, as eps
    eps,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):
    """One program normalises whole rows."""
    row = sets.own_rows(tile_rows)
    total, squares = sets.sums(x, row, rows, length, tile_rows, tile_columns)
    c = sets.factor(squares * length - total * total, length, scale, eps)
    first = row % groups * channels
    for start in range(0, length, tile_columns):
        column = start + tl.arange(0, tile_columns).to(tl.int64)
        t = sets.normalised(sets.load(x, row, column, rows, length), total, length, c)
        channel = first[:, None] + ((start + tl.arange(0, tile_columns)) // positions)[None, :]  # a division of 32 bits
        mask = (column < length)[None, :]
        weight = tl.load(gain + channel, mask=mask, other=0.0)
        shift = tl.load(offset + channel, mask=mask, other=0.0)
        sets.store(out, row, column, rows, length, saturate(t * weight + shift, -128.0, 127.0))


def plan(
    x: Tensor,
    groups: int,
    gain: Tensor,
    offset: Tensor,
    scale: float,
    eps: float,
    *,
    out: Tensor,
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`group_norm_s8`, all of them dense.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    if not out.numel():
        return ()
    rows, channels = x.shape[0] * groups, x.shape[1] // groups
    length = x.numel() // rows
    config = config or heuristic(rows, length, capability)
    tensors = {"x": x, "gain": gain, "offset": offset, "out": out}
    sizes = {"groups": groups, "channels": channels, "positions": length // channels}
    values = {**sizes, "scale": sets.bits(scale), "eps": sets.bits(eps)}
    return sets.launches(group_norm_s8_kernel, tensors, rows, length, values, config)


def group_norm_s8(
    x: Tensor,
    groups: int,
    gain: Tensor,
    offset: Tensor,
    scale: float,
    eps: float,
    *,
    out: Tensor | None = None,
    config: Config | None = None,
) -> Tensor:
    """Launch the kernel; arguments as of ``torch.ops.edgekit.group_norm_s8``.

    Args:
        x: int8 [N, C, ...], fewer than 2^24 values a group.
        groups: how many sets the channels of one item form; divides C.
        gain, offset: float32 [C], ``gamma / sy`` and ``beta / sy``.
        scale: sx.
        eps: of the float layer.
        out: int8, dense, of the shape of ``x``; allocated where it is not given.
        config: launch configuration; the heuristic's where it is not given.
    """
    x, gain, offset = x.contiguous(), gain.contiguous(), offset.contiguous()
    out = torch.empty_like(x) if out is None else out
    run(plan(x, groups, gain, offset, scale, eps, out=out, config=config, capability=capability_of(x)))
    return out
