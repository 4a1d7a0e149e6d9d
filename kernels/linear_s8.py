"""``out[m, n] = sat8(rne(float32(sum_k x[m, k] * weight[n, k] + bias[n]) * multiplier[n]))``: int8 to int8.

Tiles of int8 tensor-core products summed in int32 registers; bias, requantisation, bounds and what follows are done
on the same registers, so that no int32 reaches memory. Where a few rows would leave the device idle, the reduction is
split: a first launch writes int32 sums of each part, a second one adds them up, in any order the same integer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels import tiles
from edgekit.kernels.epilogue import Epilogue, finish
from edgekit.kernels.launch import Capability, Launch, capability_of, run
from edgekit.kernels.requant import requantize
from edgekit.kernels.tiles import Config, accumulate, tile_at

__all__ = ["Config", "Epilogue", "heuristic", "linear_s8", "plan"]

_BLOCK = 256  # elements per program that adds up parts


def heuristic(rows: int, fan_in: int, features: int, capability: Capability, plain: bool = True) -> Config:
    """The largest tile that fills the device; the reduction is split where none does.

    Args:
        rows, fan_in, features: M, K, N.
        capability: of the device, (8, 7) for Orin.
        plain: whether nothing follows.
    """
    config = tiles.choose(rows, features, tiles.step(fan_in, capability), capability, widest=256 if plain else 128)
    programs = triton.cdiv(rows, config.rows) * triton.cdiv(features, config.columns)
    return replace(config, splits=tiles.splits(programs, fan_in // config.depth, capability))


@triton.jit
def linear_s8_kernel(
    x,  # int8 [rows, fan_in]
    weight,  # int8 [features, fan_in]
    bias,  # int32 [features]
    multiplier,  # float32 [features]
    out,  # int8 [rows, features]
    rows,
    features,
    fan_in,
    lo,  # float, as hi
    hi,
    residual,  # int8 [rows, features], and what else finish() takes
    table,
    ratio,
    residual_ratio,
    sum_lo,
    sum_hi,
    has_residual: tl.constexpr,
    residual_first: tl.constexpr,
    has_table: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_features: tl.constexpr,
    tile_depth: tl.constexpr,
    group: tl.constexpr,
    even_depth: tl.constexpr,
):
    """One program computes one tile of the result; all tensors are dense."""
    row_tile, feature_tile = tile_at(
        tl.program_id(0), tl.cdiv(rows, tile_rows), tl.cdiv(features, tile_features), group
    )
    row = row_tile.to(tl.int64) * tile_rows + tl.arange(0, tile_rows)[:, None]
    feature = feature_tile.to(tl.int64) * tile_features + tl.arange(0, tile_features)[None, :]
    row_mask, feature_mask = row < rows, feature < features
    accumulator = tl.zeros((tile_rows, tile_features), dtype=tl.int32)
    x_row, filters = x + row * fan_in, weight + feature * fan_in
    accumulator = accumulate(
        accumulator, x_row, filters, row_mask, feature_mask, 1, 1, 0, fan_in, tile_depth, even_depth
    )
    accumulator += tl.load(bias + feature, mask=feature_mask, other=0)
    y = requantize(accumulator, tl.load(multiplier + feature, mask=feature_mask, other=0.0), lo, hi)
    offset, mask = row * features + feature, row_mask & feature_mask
    y = finish(
        y,
        residual + offset,
        table,
        mask,
        ratio,
        residual_ratio,
        sum_lo,
        sum_hi,
        has_residual,
        residual_first,
        has_table,
    )
    tl.store(out + offset, y, mask=mask)


@triton.jit
def linear_s8_part_kernel(
    x,  # int8 [rows, fan_in]
    weight,  # int8 [features, fan_in]
    parts,  # int32 [splits, rows, features]
    rows,
    features,
    fan_in,
    part_depth,  # of the reduction, a multiple of tile_depth
    tile_rows: tl.constexpr,
    tile_features: tl.constexpr,
    tile_depth: tl.constexpr,
    group: tl.constexpr,
    even_depth: tl.constexpr,
):
    """One program computes one tile of the sums of one part of the reduction."""
    row_tile, feature_tile = tile_at(
        tl.program_id(0), tl.cdiv(rows, tile_rows), tl.cdiv(features, tile_features), group
    )
    row = row_tile.to(tl.int64) * tile_rows + tl.arange(0, tile_rows)[:, None]
    feature = feature_tile.to(tl.int64) * tile_features + tl.arange(0, tile_features)[None, :]
    row_mask, feature_mask = row < rows, feature < features
    begin = tl.program_id(1) * part_depth
    end = tl.minimum(begin + part_depth, fan_in)
    accumulator = tl.zeros((tile_rows, tile_features), dtype=tl.int32)
    x_row, filters = x + row * fan_in, weight + feature * fan_in
    accumulator = accumulate(
        accumulator, x_row, filters, row_mask, feature_mask, 1, 1, begin, end, tile_depth, even_depth
    )
    target = (tl.program_id(1).to(tl.int64) * rows + row) * features + feature
    tl.store(parts + target, accumulator, mask=row_mask & feature_mask)


@triton.jit
def linear_s8_sum_kernel(
    parts,  # int32 [splits, elements]
    bias,  # int32 [features]
    multiplier,  # float32 [features]
    out,  # int8 [elements]
    elements,
    features,
    lo,  # float, as hi
    hi,
    residual,  # int8 [elements], and what else finish() takes
    table,
    ratio,
    residual_ratio,
    sum_lo,
    sum_hi,
    has_residual: tl.constexpr,
    residual_first: tl.constexpr,
    has_table: tl.constexpr,
    splits: tl.constexpr,
    block: tl.constexpr,
):
    """One program adds the parts of ``block`` neighbours up and requantises them."""
    offset = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    mask = offset < elements
    feature = offset % features
    accumulator = tl.load(bias + feature, mask=mask, other=0)
    part = offset
    for _ in range(splits):
        accumulator += tl.load(parts + part, mask=mask, other=0)
        part += elements
    y = requantize(accumulator, tl.load(multiplier + feature, mask=mask, other=0.0), lo, hi)
    y = finish(
        y,
        residual + offset,
        table,
        mask,
        ratio,
        residual_ratio,
        sum_lo,
        sum_hi,
        has_residual,
        residual_first,
        has_table,
    )
    tl.store(out + offset, y, mask=mask)


def plan(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    lo: int = -128,
    hi: int = 127,
    *after: Any,
    out: Tensor,
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`linear_s8`, all of them dense.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    features, fan_in = weight.shape
    if not out.numel():
        return ()
    epilogue = Epilogue(*after)
    rows = out.numel() // features
    config = config or heuristic(rows, fan_in, features, capability, epilogue.empty)
    sizes = {"rows": rows, "features": features, "fan_in": fan_in}
    channels = {"bias": bias, "multiplier": multiplier, "out": out}
    bounds = {"lo": float(lo), "hi": float(hi), **epilogue.arguments(out)}
    if config.splits == 1 or not fan_in:
        arguments = {"x": x, "weight": weight, **channels, **sizes, **bounds}
        constants = {**epilogue.constants(), **_tile(config, fan_in)}
        return (
            Launch(linear_s8_kernel, arguments, constants, _grid(config, rows, features), config.warps, config.stages),
        )
    parts, first = _parts(x, weight, sizes, config)
    arguments = {"parts": parts, **channels, "elements": rows * features, "features": features, **bounds}
    constants = {**epilogue.constants(), "splits": parts.shape[0], "block": _BLOCK}
    return first, Launch(linear_s8_sum_kernel, arguments, constants, (triton.cdiv(rows * features, _BLOCK),), warps=4)


def _tile(config: Config, fan_in: int) -> dict[str, int | bool]:
    return {
        "tile_rows": config.rows,
        "tile_features": config.columns,
        "tile_depth": config.depth,
        "group": config.group,
        "even_depth": fan_in % config.depth == 0,
    }


def _grid(config: Config, rows: int, features: int) -> tuple[int, ...]:
    return (triton.cdiv(rows, config.rows) * triton.cdiv(features, config.columns),)


def _parts(x: Tensor, weight: Tensor, sizes: dict[str, int], config: Config) -> tuple[Tensor, Launch]:
    """The sums of each part of the reduction, int32 [splits, rows, features], and the launch that fills them."""
    rows, features, fan_in = sizes.values()
    depth = triton.cdiv(triton.cdiv(fan_in, config.splits), config.depth) * config.depth
    parts = x.new_empty((triton.cdiv(fan_in, depth), rows, features), dtype=torch.int32)
    grid = (*_grid(config, rows, features), parts.shape[0])
    arguments = {"x": x, "weight": weight, "parts": parts, **sizes, "part_depth": depth}
    return parts, Launch(linear_s8_part_kernel, arguments, _tile(config, fan_in), grid, config.warps, config.stages)


def linear_s8(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    lo: int = -128,
    hi: int = 127,
    *after: Any,
    out: Tensor | None = None,
    config: Config | None = None,
) -> Tensor:
    """Launch the kernel; arguments as of ``torch.ops.edgekit.linear_s8``.

    Args:
        x: int8 [..., K], K at most 131,071.
        weight: int8 [N, K].
        bias: int32 [N].
        multiplier: float32 [N].
        lo, hi: bounds of the result.
        after: what follows, an :class:`Epilogue`.
        out: int8 [..., N], dense; allocated where it is not given.
        config: launch configuration; the heuristic's where it is not given.
    """
    out = x.new_empty((*x.shape[:-1], weight.shape[0])) if out is None else out
    x, weight, bias, multiplier = (tensor.contiguous() for tensor in (x, weight, bias, multiplier))
    launches = plan(
        x,
        weight,
        bias,
        multiplier,
        lo,
        hi,
        *Epilogue(*after).dense(),
        out=out,
        config=config,
        capability=capability_of(x),
    )
    run(launches)
    return out
