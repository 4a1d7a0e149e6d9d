"""``out = sat8(rne(t * gain))``, t the value over the root of the mean square: RMS norm of int8.

Two passes over a row, of which one reads the caches: the exact int64 sum of squares, then the results. Square root and
division are float64, one of each for a row.
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

__all__ = ["Config", "heuristic", "plan", "rms_norm_s8"]


@triton.jit
def rms_norm_s8_kernel(
    x,  # int8 [rows, length]
    gain,  # float32 [length]
    out,  # int8 [rows, length]
    rows,
    length,
    scale,  # float64 as bits, as eps
    eps,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):
    """One program normalises whole rows."""
    row = sets.own_rows(tile_rows)
    _, squares = sets.sums(x, row, rows, length, tile_rows, tile_columns)
    none = tl.zeros_like(squares)
    c = sets.factor(squares * length, length, scale, eps)
    for start in range(0, length, tile_columns):
        column = start + tl.arange(0, tile_columns).to(tl.int64)
        t = sets.normalised(sets.load(x, row, column, rows, length), none, length, c)
        weight = tl.load(gain + column, mask=column < length, other=0.0)[None, :]
        sets.store(out, row, column, rows, length, saturate(t * weight, -128.0, 127.0))


def plan(
    x: Tensor,
    gain: Tensor,
    scale: float,
    eps: float,
    *,
    out: Tensor,
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`rms_norm_s8`, all of them dense.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    if not out.numel():
        return ()
    length, rows = gain.numel(), x.numel() // gain.numel()
    config = config or heuristic(rows, length, capability)
    values = {"scale": sets.bits(scale), "eps": sets.bits(eps)}
    return sets.launches(rms_norm_s8_kernel, {"x": x, "gain": gain, "out": out}, rows, length, values, config)


def rms_norm_s8(
    x: Tensor,
    gain: Tensor,
    scale: float,
    eps: float,
    *,
    out: Tensor | None = None,
    config: Config | None = None,
) -> Tensor:
    """Launch the kernel; arguments as of ``torch.ops.edgekit.rms_norm_s8``.

    Args:
        x: int8 [..., *gain.shape].
        gain: float32, ``gamma / sy``; its shape says which trailing dimensions are one set, of fewer than 2^24 values.
        scale: sx.
        eps: of the float layer.
        out: int8, dense, of the shape of ``x``; allocated where it is not given.
        config: launch configuration; the heuristic's where it is not given.
    """
    x, gain = x.contiguous(), gain.contiguous()
    out = torch.empty_like(x) if out is None else out
    run(plan(x, gain, scale, eps, out=out, config=config, capability=capability_of(x)))
    return out
