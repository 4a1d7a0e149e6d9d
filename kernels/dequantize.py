"""``out[i] = float32(x[i]) * scale[channel of i]``: int8 or int32 to float32, per tensor or per channel.

Bound by memory: 1 or 4 bytes in, 4 bytes out.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels.broadcast import Config, along, collapse, heuristic, in_order, offsets, tile
from edgekit.kernels.launch import Capability, Launch, capability_of, run

__all__ = ["Config", "dequantize", "heuristic", "plan"]


@triton.jit
def dequantize_kernel(
    x,  # int8 or int32
    scale,  # float32 [channels]
    out,  # float32 [rows, columns]
    rows,
    columns,
    size_1,
    size_2,
    x_stride_0,
    x_stride_1,
    x_stride_2,
    x_stride_3,
    scale_stride_0,
    scale_stride_1,
    scale_stride_2,
    scale_stride_3,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):
    """One program dequantises one tile."""
    row, column, mask = tile(rows, columns, tile_rows, tile_columns)
    at = offsets(row, column, size_1, size_2, x_stride_0, x_stride_1, x_stride_2, x_stride_3)
    channel = offsets(row, column, size_1, size_2, scale_stride_0, scale_stride_1, scale_stride_2, scale_stride_3)
    values = tl.load(x + at, mask=mask, other=0).to(tl.float32)
    steps = tl.load(scale + channel, mask=mask, other=0.0)
    tl.store(out + row[:, None] * columns + column[None, :], values * steps, mask=mask)


def plan(
    x: Tensor,
    scale: Tensor,
    axis: int | None = None,
    *,
    out: Tensor,
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`dequantize`, all of them dense.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    if not out.numel():
        return ()
    layout = collapse(x.shape, x.stride(), along(axis, x.dim()))
    config = config or heuristic(layout.rows, layout.columns, capability)
    return (
        Launch(
            dequantize_kernel,
            {"x": x, "scale": scale, "out": out, **layout.arguments("x", "scale")},
            config.constants(),
            layout.grid(config),
            config.warps,
        ),
    )


def dequantize(
    x: Tensor,
    scale: Tensor,
    axis: int | None = None,
    *,
    out: Tensor | None = None,
    config: Config | None = None,
) -> Tensor:
    """Launch the kernel; arguments as of ``torch.ops.edgekit.dequantize``.

    Args:
        x: int8 or int32, any shape.
        scale: float32, one value, or [x.shape[axis]].
        axis: the dimension that ``scale`` runs along.
        out: float32, dense in any order, of the shape of ``x``; allocated where it is not given.
        config: launch configuration; the heuristic's where it is not given.
    """
    out = torch.empty_like(x, dtype=torch.float32) if out is None else out
    x, axis, seen = in_order(x, axis, out)
    run(plan(x, scale.contiguous(), axis, out=seen, config=config, capability=capability_of(x)))
    return out
