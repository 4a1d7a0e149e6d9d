"""``out[i] = table[x[i] + 128]``: any function of one int8 tensor, with one table, or one for each index of an axis.

Bound by memory: one byte in, one byte out; the tables stay in the caches.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels.broadcast import Config, along, collapse, heuristic, in_order, offsets, tile
from edgekit.kernels.launch import Capability, Launch, capability_of, run

__all__ = ["Config", "heuristic", "lut_s8", "plan"]


@triton.jit
def look_up(table, values, mask):
    """Entries of an int8 [256] table for int8 ``values``; ``table`` is a pointer, or one for each value."""
    return tl.load(table + (values.to(tl.int64) + 128), mask=mask, other=0)


@triton.jit
def lut_s8_kernel(
    x,  # int8
    table,  # int8 [channels, 256]
    out,  # int8 [rows, columns]
    rows,
    columns,
    size_1,
    size_2,
    x_stride_0,
    x_stride_1,
    x_stride_2,
    x_stride_3,
    table_stride_0,
    table_stride_1,
    table_stride_2,
    table_stride_3,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):
    """One program looks one tile up."""
    row, column, mask = tile(rows, columns, tile_rows, tile_columns)
    at = offsets(row, column, size_1, size_2, x_stride_0, x_stride_1, x_stride_2, x_stride_3)
    channel = offsets(row, column, size_1, size_2, table_stride_0, table_stride_1, table_stride_2, table_stride_3)
    values = tl.load(x + at, mask=mask, other=0)
    tl.store(out + row[:, None] * columns + column[None, :], look_up(table + channel, values, mask), mask=mask)


def plan(
    x: Tensor,
    table: Tensor,
    axis: int | None = None,
    *,
    out: Tensor,
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`lut_s8`, all of them dense.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    if not out.numel():
        return ()
    layout = collapse(x.shape, x.stride(), along(axis, x.dim(), 256))
    config = config or heuristic(layout.rows, layout.columns, capability)
    return (
        Launch(
            lut_s8_kernel,
            {"x": x, "table": table, "out": out, **layout.arguments("x", "table")},
            config.constants(),
            layout.grid(config),
            config.warps,
        ),
    )


def lut_s8(
    x: Tensor,
    table: Tensor,
    axis: int | None = None,
    *,
    out: Tensor | None = None,
    config: Config | None = None,
) -> Tensor:
    """Launch the kernel; arguments as of ``torch.ops.edgekit.lut_s8``.

    Args:
        x: int8, any shape.
        table: int8 [256], or [x.shape[axis], 256]; entry 0 answers -128.
        axis: the dimension that has a table for each index.
        out: int8, dense in any order, of the shape of ``x``; allocated where it is not given.
        config: launch configuration; the heuristic's where it is not given.
    """
    out = torch.empty_like(x) if out is None else out
    x, axis, seen = in_order(x, axis, out)
    run(plan(x, table.contiguous(), axis, out=seen, config=config, capability=capability_of(x)))
    return out
