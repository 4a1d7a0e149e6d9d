"""What the integer recurrent layers share: the pieces of one time step, each the word of its own operator.

A step is one launch: its programs each own a tile of batch rows and units and need the whole state before. The state
of a layer is small, so a step is bound by the weights, which stay in the L2 cache from one launch to the next.
"""

from __future__ import annotations

import triton
import triton.language as tl

from edgekit.kernels import tiles
from edgekit.kernels.add_s8 import add
from edgekit.kernels.launch import Capability
from edgekit.kernels.lut_s8 import look_up
from edgekit.kernels.requant import requantize
from edgekit.kernels.tiles import Config, accumulate


def heuristic(batch: int, units: int, capability: Capability) -> Config:
    """Narrow tiles: there are few of them, and each holds the sums of several gates.

    Args:
        batch, units: N, H of the layer.
        capability: of the device, (8, 7) for Orin.
    """
    rows = 16 if batch <= 16 else 64
    depth = tiles.step(units, capability)
    return Config(rows, 32, depth, 4, tiles.stages(rows + 32, depth, capability))


def constants(config: Config, units: int) -> dict[str, int | bool]:
    """What a step must know when it is compiled."""
    return {
        "tile_rows": config.rows,
        "tile_columns": config.columns,
        "tile_depth": config.depth,
        "even_depth": units % config.depth == 0,
    }


def grid(config: Config, batch: int, units: int) -> tuple[int, int]:
    """One program for each tile; units first, since the second axis has no more than 65,535 programs."""
    return triton.cdiv(units, config.columns), triton.cdiv(batch, config.rows)


@triton.jit
def own_tile(batch, units, tile_rows: tl.constexpr, tile_columns: tl.constexpr):
    """Batch rows [tile_rows] and units [tile_columns] of this program, int64, and which of the tile's values exist."""
    row = tl.program_id(1).to(tl.int64) * tile_rows + tl.arange(0, tile_rows)
    unit = tl.program_id(0).to(tl.int64) * tile_columns + tl.arange(0, tile_columns)
    return row, unit, (row < batch)[:, None] & (unit < units)[None, :]


@triton.jit
def hidden(
    before,  # int8 [batch, units]
    weight,  # int8 [gates * units, units]
    bias,  # int32 [gates * units]
    multiplier,  # float32 [gates * units]
    gate: tl.constexpr,
    row,
    unit,
    batch,
    units,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
    tile_depth: tl.constexpr,
    even_depth: tl.constexpr,
):
    """The recurrent part of one gate, int8."""
    feature, exists = unit + gate * units, unit < units
    accumulator = accumulate(
        tl.zeros((tile_rows, tile_columns), tl.int32),
        before + row[:, None] * units,
        weight + feature[None, :] * units,
        (row < batch)[:, None],
        exists[None, :],
        1,
        1,
        0,
        units,
        tile_depth,
        even_depth,
    )
    accumulator += tl.load(bias + feature, mask=exists, other=0)[None, :]
    scale = tl.load(multiplier + feature, mask=exists, other=0.0)[None, :]
    return requantize(accumulator, scale, -128.0, 127.0)


@triton.jit
def ratio(ratios, index: tl.constexpr):
    """One of the layer's ratios; they are data, since reading them would make the host wait."""
    return tl.load(ratios + tl.cast(index, tl.int64))


@triton.jit
def table_of(tables, index: tl.constexpr):
    """Where one of the layer's tables begins."""
    return tables + tl.cast(256 * index, tl.int64)


@triton.jit
def function(part, recurrent, ratios, first: tl.constexpr, table, mask):
    """The function in ``table`` of the sum of a gate's two parts, whose ratios are ``first`` and the one after it."""
    total = add(part, recurrent, ratio(ratios, first), ratio(ratios, first + 1), -128.0, 127.0)
    return look_up(table, total, mask)
