"""``out = sat8(rne(float32(q) * c * (1 / sy)))``, ``c = float32(sx / max(sqrt(sx*sx*Q), eps))``: rows of length one.

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

__all__ = ["Config", "heuristic", "l2_norm_s8", "plan"]


@triton.jit
def l2_norm_s8_kernel(
    x,  # int8 [rows, length]
    out,  # int8 [rows, length]
    rows,
    length,
    scale,  # float64 as bits, as eps
    output_scale,  # float32
    eps,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):
    """One program normalises whole rows."""
    row = sets.own_rows(tile_rows)
    _, squares = sets.sums(x, row, rows, length, tile_rows, tile_columns)
    step = sets.float64(scale)
    size = tl.maximum(tl.sqrt(step * step * squares.to(tl.float64)), sets.float64(eps))
    c = (step / size).to(tl.float32)[:, None]
    gain = tl.div_rn(1.0, output_scale)
    for start in range(0, length, tile_columns):
        column = start + tl.arange(0, tile_columns).to(tl.int64)
        q = sets.load(x, row, column, rows, length)
        sets.store(out, row, column, rows, length, saturate(q.to(tl.float32) * c * gain, -128.0, 127.0))


def plan(
    x: Tensor,
    scale: float,
    output_scale: float,
    eps: float,
    *,
    out: Tensor,
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`l2_norm_s8`, all of them dense.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    if not out.numel():
        return ()
    length, rows = x.shape[-1], x.numel() // x.shape[-1]
    config = config or heuristic(rows, length, capability)
    values = {"scale": sets.bits(scale), "output_scale": output_scale, "eps": sets.bits(eps)}
    return sets.launches(l2_norm_s8_kernel, {"x": x, "out": out}, rows, length, values, config)


def l2_norm_s8(
    x: Tensor,
    scale: float,
    output_scale: float,
    eps: float,
    *,
    out: Tensor | None = None,
    config: Config | None = None,
) -> Tensor:
    """Launch the kernel; arguments as of ``torch.ops.edgekit.l2_norm_s8``.

    Args:
        x: int8 [..., N], N < 2^24.
        scale, output_scale: sx and sy.
        eps: the least length that a row is divided by.
        out: int8, dense, of the shape of ``x``; allocated where it is not given.
        config: launch configuration; the heuristic's where it is not given.
    """
    x = x.contiguous()
    out = torch.empty_like(x) if out is None else out
    run(plan(x, scale, output_scale, eps, out=out, config=config, capability=capability_of(x)))
    return out
