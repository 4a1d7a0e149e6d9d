"""Tensors of equal or broadcast shapes, value by value: how a call becomes tiles of rows and columns.

Neighbouring dimensions that every operand walks with one step become one, and at most four are left: three that make
the rows, one for the columns. A program divides once for each row of its tile and not for each value, and tensors of
the same dense shape are a single row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels.launch import Capability, multiprocessors

RANK = 4  # dimensions that a kernel can walk


@dataclass(frozen=True)
class Config:
    """Launch configuration.

    Attributes:
        rows, columns: of the tile of one program.
        warps: warps per program.
    """

    rows: int
    columns: int
    warps: int

    def constants(self) -> dict[str, int]:
        """What a kernel must know when it is compiled."""
        return {"tile_rows": self.rows, "tile_columns": self.columns}


def heuristic(rows: int, columns: int, capability: Capability, values: int = 16) -> Config:
    """Sixteen bytes per thread where that leaves work for every multiprocessor; smaller programs where not.

    Args:
        rows, columns: of the result.
        capability: of the device; (8, 7) for Orin.
        values: per thread, a power of two from 4; fewer where each is much work.
    """
    large = 128 * values
    block, warps = (large, 4) if rows * columns >= large * multiprocessors(capability) else (256, 2)
    width = min(triton.next_power_of_2(columns), block)
    return Config(min(triton.next_power_of_2(rows), block // width), width, warps)


@dataclass(frozen=True)
class Layout:
    """How operands walk through a result.

    Attributes:
        sizes: dimensions of the result, four at least; the last one makes the columns.
        strides: of each operand along them, in elements; 0 where it is repeated.
    """

    sizes: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return prod(self.sizes[:-1])

    @property
    def columns(self) -> int:
        """The number of columns."""
        return self.sizes[-1]

    def arguments(self, *operands: str) -> dict[str, int]:
        """What a kernel takes for :func:`tile` and :func:`offsets`, by the names of its operands."""
        found = {"rows": self.rows, "columns": self.columns, "size_1": self.sizes[1], "size_2": self.sizes[2]}
        for name, strides in zip(operands, self.strides, strict=True):
            found |= {f"{name}_stride_{i}": stride for i, stride in enumerate(strides)}
        return found

    def grid(self, config: Config) -> tuple[int]:
        """One program for each tile."""
        return (triton.cdiv(self.rows, config.rows) * triton.cdiv(self.columns, config.columns),)


def collapse(shape: Sequence[int], *strides: Sequence[int]) -> Layout:
    """Drop dimensions of size 1, join neighbours that every operand walks with one step, fill up to four in front."""
    joined: list[tuple[int, list[int]]] = []
    for size, *steps in zip(shape, *strides, strict=True):
        if size == 1:
            continue
        if joined and joined[-1][1] == [size * step for step in steps]:
            joined[-1] = joined[-1][0] * size, steps
        else:
            joined.append((size, steps))
    joined = [(1, [0] * len(strides))] * (RANK - len(joined)) + joined
    return Layout(tuple(size for size, _ in joined), tuple(zip(*(steps for _, steps in joined), strict=True)))


def order_of(out: Tensor) -> list[int]:
    """The dimensions of a dense tensor, outermost in memory first."""
    strides = out.stride()
    return sorted(range(out.dim()), key=lambda dim: -strides[dim])


def in_order(x: Tensor, axis: int | None, out: Tensor) -> tuple[Tensor, int | None, Tensor]:
    """``x`` and a result of its shape as dense tensors, their dimensions in the order of the result; the axis there."""
    order = order_of(out)
    moved = None if axis is None else order.index(axis % out.dim())
    return x.permute(order).contiguous(), moved, out.permute(order)


def arrange(out: Tensor, *operands: Tensor) -> tuple[Layout, tuple[Tensor, ...]]:
    """The layout of operands that broadcast to ``out``; where four dimensions do not suffice, of dense copies."""
    order = order_of(out)
    views = tuple(operand.expand(out.shape).permute(order) for operand in operands)
    shape = out.permute(order).shape
    layout = collapse(shape, *(view.stride() for view in views))
    if len(layout.sizes) > RANK:
        views = tuple(view.contiguous() for view in views)
        layout = collapse(shape, *(view.stride() for view in views))
    return layout, views


def along(axis: int | None, rank: int, stride: int = 1) -> list[int]:
    """Strides of what has one entry for each index of ``axis`` of ``rank`` dimensions; or one entry for all."""
    return [stride if axis is not None and i == axis % rank else 0 for i in range(rank)]


@triton.jit
def tile(rows, columns, tile_rows: tl.constexpr, tile_columns: tl.constexpr):
    """The rows [tile_rows] and columns [tile_columns] of this program, int64, and which of the tile's values exist."""
    across = tl.cdiv(tl.cast(columns, tl.int64), tile_columns)
    program = tl.program_id(0).to(tl.int64)
    row = program // across * tile_rows + tl.arange(0, tile_rows)
    column = program % across * tile_columns + tl.arange(0, tile_columns)
    return row, column, (row < rows)[:, None] & (column < columns)[None, :]


@triton.jit
def walk(index, size_1, size_2, stride_0, stride_1, stride_2):
    """Offset of the int64 ``index`` among three dimensions."""
    outer = index // size_2
    return outer // size_1 * stride_0 + outer % size_1 * stride_1 + index % size_2 * stride_2


@triton.jit
def offsets(row, column, size_1, size_2, stride_0, stride_1, stride_2, stride_3):
    """Where an operand holds the values of a tile, [rows, columns]."""
    return walk(row, size_1, size_2, stride_0, stride_1, stride_2)[:, None] + column[None, :] * stride_3
