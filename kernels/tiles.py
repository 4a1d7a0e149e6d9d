"""What the products of int8 matrices share: configuration, order of tiles, and the loop over the reduction."""

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl

from edgekit.kernels.launch import Capability, multiprocessors

_KIB_PER_BLOCK = {(8, 6): 99, (8, 9): 99, (12, 0): 99, (12, 1): 99, (9, 0): 227, (10, 0): 227, (10, 3): 227}
_TILES = ((128, 256, 8), (128, 128, 8), (64, 128, 4), (64, 64, 4), (32, 64, 4), (16, 64, 4))  # rows, columns, warps
_STEPS_PER_SPLIT = 4  # fewer, and starting a program costs more than it saves


@dataclass(frozen=True)
class Config:
    """Launch configuration of a product.

    Attributes:
        rows, columns: of the tile of one program.
        depth: of the reduction per step.
        warps: warps per program.
        stages: loads in flight.
        group: rows of tiles that are walked together, so that they find their columns in the L2 cache.
        splits: parts of the reduction that are summed apart, where there are too few tiles to fill the device.
    """

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int
    group: int = 8
    splits: int = 1


def step(depth: int, capability: Capability) -> int:
    """Of a reduction over ``depth`` values: a cache line of each row, or half of one where shared memory is small."""
    longest = 64 if (8, 0) <= capability < (9, 0) else 128
    return 32 if depth <= 32 else 64 if depth <= 64 else longest


def choose(rows: int, columns: int, depth: int, capability: Capability, batch: int = 1, widest: int = 256) -> Config:
    """The largest tile that still gives every multiprocessor a program; else the smallest.

    Args:
        rows, columns: M, N of the product.
        depth: of the reduction per step.
        capability: of the device, (8, 7) for Orin; (0, 0) for the interpreter.
        batch: products of this size in one launch.
        widest: columns of a tile; where much follows a product, sums of 256 leave it no registers.
    """
    wanted = multiprocessors(capability)
    fitting = [
        tile
        for tile in _TILES
        if tile[1] <= (widest if capability[0] == 9 else 128)
        and tile[0] < max(2 * rows, 32)
        and tile[1] < max(2 * columns, 128)
    ]
    filling = (tile for tile in fitting if batch * triton.cdiv(rows, tile[0]) * triton.cdiv(columns, tile[1]) >= wanted)
    tile_rows, tile_columns, warps = next(filling, fitting[-1])
    return Config(tile_rows, tile_columns, depth, warps, stages(tile_rows + tile_columns, depth, capability))


def stages(lines: int, depth: int, capability: Capability) -> int:
    """Loads in flight: what shared memory holds, four at most; one where there is no asynchronous copy.

    Args:
        lines: rows and columns of a tile together.
        depth: bytes of each line that one step loads.
    """
    if capability < (8, 0):
        return 1
    room = _KIB_PER_BLOCK.get(capability, 160) * 1024
    return max(2, min(4 if capability >= (9, 0) else 3, room // (lines * depth)))


def splits(programs: int, steps: int, capability: Capability) -> int:
    """Parts of a reduction in ``steps`` steps that give every multiprocessor a program, each of some length."""
    wanted: int = triton.cdiv(multiprocessors(capability), programs)
    return max(1, min(wanted, steps // _STEPS_PER_SPLIT))


@triton.jit
def tile_at(program, row_tiles, column_tiles, group: tl.constexpr):
    """Row and column of the tile of ``program``: ``group`` rows of tiles are walked a column at a time."""
    first = program // (group * column_tiles) * group
    height = tl.minimum(row_tiles - first, group)
    within = program % (group * column_tiles)
    return first + within % height, within // height


@triton.jit
def accumulate(
    accumulator,  # int32 [rows, columns]
    a,  # pointers to int8 [rows, 1], where each row begins
    b,  # pointers to int8 [1, columns], where each column begins
    row_mask,  # [rows, 1]
    column_mask,  # [1, columns]
    a_step,  # from one value of a row to the next
    b_step,
    begin,  # of the reduction, as end
    end,
    tile_depth: tl.constexpr,
    even_depth: tl.constexpr,  # tile_depth divides end - begin
):
    """``accumulator`` plus the products from ``begin`` to ``end``.

    Exact: at most 131,071 products of at most 2^14 each, so the saturation that Triton puts on int8 ``mma.sync`` never
    acts. A bias, which may wrap, is added after it.
    """
    for first in range(begin, end, tile_depth):
        depth = first + tl.arange(0, tile_depth).to(tl.int64)
        a_mask, b_mask = row_mask, column_mask
        if not even_depth:
            a_mask, b_mask = a_mask & (depth < end)[None, :], b_mask & (depth < end)[:, None]
        a_tile = tl.load(a + depth[None, :] * a_step, mask=a_mask, other=0)
        b_tile = tl.load(b + depth[:, None] * b_step, mask=b_mask, other=0)
        accumulator = tl.dot(a_tile, b_tile, accumulator, out_dtype=tl.int32)
    return accumulator
