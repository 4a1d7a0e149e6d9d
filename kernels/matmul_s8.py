"""``out = sat8(rne(float32(a @ b) * multiplier))``: the product of int8 matrices of activations, in batches.

As ``linear_s8``, with both operands read by strides: transposed ones are no copies, and what is broadcast is read
where it lies. Tensor cores take both operands along the reduction: a ``b`` that lies that way, such as the transposed
keys of attention, is the faster one.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels import tiles
from edgekit.kernels.batches import arrange, matrix_at
from edgekit.kernels.launch import Capability, Launch, capability_of, run
from edgekit.kernels.requant import requantize
from edgekit.kernels.tiles import Config, accumulate, tile_at

__all__ = ["Config", "heuristic", "matmul_s8", "plan"]


def heuristic(rows: int, depth: int, columns: int, batch: int, capability: Capability) -> Config:
    """The largest tile that fills the device.

    Args:
        rows, depth, columns: M, K, N.
        batch: matrices.
        capability: of the device, (8, 7) for Orin.
    """
    return tiles.choose(rows, columns, tiles.step(depth, capability), capability, batch)


@triton.jit
def matmul_s8_kernel(
    a,  # int8, matrices of [rows, depth]
    b,  # int8, matrices of [depth, columns]
    out,  # int8 [batch, rows, columns]
    rows,
    columns,
    depth,
    a_row,  # from one row of a matrix of a to the next
    a_step,  # along the reduction
    b_column,
    b_step,
    size_1,  # of the batch, and what else matrix_at() takes
    size_2,
    size_3,
    a_stride_0,
    a_stride_1,
    a_stride_2,
    a_stride_3,
    b_stride_0,
    b_stride_1,
    b_stride_2,
    b_stride_3,
    multiplier,  # float, as lo and hi
    lo,
    hi,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
    tile_depth: tl.constexpr,
    group: tl.constexpr,
    even_depth: tl.constexpr,
):
    """One program computes one tile of one matrix of the result."""
    row_tiles, column_tiles = tl.cdiv(rows, tile_rows), tl.cdiv(columns, tile_columns)
    row_tile, column_tile = tile_at(tl.program_id(0) % (row_tiles * column_tiles), row_tiles, column_tiles, group)
    matrix = (tl.program_id(0) // (row_tiles * column_tiles)).to(tl.int64)
    a += matrix_at(matrix, size_1, size_2, size_3, a_stride_0, a_stride_1, a_stride_2, a_stride_3)
    b += matrix_at(matrix, size_1, size_2, size_3, b_stride_0, b_stride_1, b_stride_2, b_stride_3)
    row = row_tile.to(tl.int64) * tile_rows + tl.arange(0, tile_rows)[:, None]
    column = column_tile.to(tl.int64) * tile_columns + tl.arange(0, tile_columns)[None, :]
    row_mask, column_mask = row < rows, column < columns
    accumulator = accumulate(
        tl.zeros((tile_rows, tile_columns), dtype=tl.int32),
        a + row * a_row,
        b + column * b_column,
        row_mask,
        column_mask,
        a_step,
        b_step,
        0,
        depth,
        tile_depth,
        even_depth,
    )
    target = out + ((matrix * rows + row) * columns + column)
    tl.store(target, requantize(accumulator, multiplier, lo, hi), mask=row_mask & column_mask)


def plan(
    a: Tensor,
    b: Tensor,
    multiplier: float,
    lo: int = -128,
    hi: int = 127,
    *,
    out: Tensor,
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`matmul_s8`.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    if not out.numel():
        return ()
    batch, rows, columns, depth = out.shape[:-2], out.shape[-2], out.shape[-1], a.shape[-1]
    matrices, told = arrange(batch, a=a, b=b)
    a, b = matrices.values()
    config = config or heuristic(rows, depth, columns, batch.numel(), capability)
    arguments: dict[str, Tensor | int | float] = {
        **matrices,
        "out": out,
        "rows": rows,
        "columns": columns,
        "depth": depth,
        "a_row": a.stride(-2),
        "a_step": a.stride(-1),
        "b_column": b.stride(-1),
        "b_step": b.stride(-2),
        **told,
        "multiplier": float(multiplier),
        "lo": float(lo),
        "hi": float(hi),
    }
    constants = {
        "tile_rows": config.rows,
        "tile_columns": config.columns,
        "tile_depth": config.depth,
        "group": config.group,
        "even_depth": depth % config.depth == 0,
    }
    grid = (batch.numel() * triton.cdiv(rows, config.rows) * triton.cdiv(columns, config.columns),)
    return (Launch(matmul_s8_kernel, arguments, constants, grid, config.warps, config.stages),)


def matmul_s8(
    a: Tensor,
    b: Tensor,
    multiplier: float,
    lo: int = -128,
    hi: int = 127,
    *,
    out: Tensor | None = None,
    config: Config | None = None,
) -> Tensor:
    """Launch the kernel; arguments as of ``torch.ops.edgekit.matmul_s8``.

    Args:
        a: int8 [..., M, K], K at most 131,071, of any strides.
        b: int8 [..., K, N], of any strides; the dimensions in front broadcast.
        multiplier: ``(sa * sb) / sy``.
        lo, hi: bounds of the result.
        out: int8 [..., M, N], dense; allocated where it is not given.
        config: launch configuration; the heuristic's where it is not given.
    """
    if out is None:
        batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        out = a.new_empty((*batch, a.shape[-2], b.shape[-1]))
    run(plan(a, b, multiplier, lo, hi, out=out, config=config, capability=capability_of(a)))
    return out
