"""``out = float32(sum q * weight) * (row scale * weight_scale) + bias``: float rows quantised by their largest value.

Two launches: one finds the scale of every row and writes it with the int8 row; the other is the product, scaled back
to float32 on its registers. The divisions are correctly rounded, and no operation is contracted with the next.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels import tiles
from edgekit.kernels.launch import Capability, Launch, capability_of, run
from edgekit.kernels.requant import saturate
from edgekit.kernels.tiles import Config, accumulate, tile_at

__all__ = ["Config", "heuristic", "linear_dynamic", "plan"]

_ELEMENTS = 4096  # of float rows that a program holds at once
_WARPS = 4


def heuristic(rows: int, fan_in: int, features: int, capability: Capability) -> Config:
    """The largest tile of the product that fills the device.

    Args:
        rows, fan_in, features: M, K, N.
        capability: of the device, (8, 7) for Orin.
    """
    return tiles.choose(rows, features, tiles.step(fan_in, capability), capability, widest=128)


@triton.jit
def quantize_rows_kernel(
    x,  # float32 [rows, fan_in]
    q,  # int8 [rows, fan_in]
    scale,  # float32 [rows]
    rows,
    fan_in,
    tile_rows: tl.constexpr,
    tile_depth: tl.constexpr,
):
    """One program quantises whole rows: a pass for the largest magnitudes, one for the bytes."""
    row = tl.program_id(0).to(tl.int64) * tile_rows + tl.arange(0, tile_rows)
    place, begin = tl.arange(0, tile_depth).to(tl.int64), row[:, None] * fan_in
    row_mask = row < rows
    largest = tl.zeros((tile_rows,), dtype=tl.float32)
    for first in range(0, fan_in, tile_depth):
        column = (first + place)[None, :]
        values = tl.load(x + (begin + column), mask=row_mask[:, None] & (column < fan_in), other=0.0)
        magnitude = tl.abs(tl.where(values == values, values, 0.0))
        largest = tl.maximum(largest, tl.max(magnitude, axis=1))
    largest = tl.minimum(largest, 3.4028234663852886e38)  # infinity counts as the largest float32
    step = tl.div_rn(largest, tl.zeros_like(largest) + 127.0)
    step = tl.where(step < 1.1754943508222875e-38, 1.0, step)  # not a normal number: all of the row is 0
    tl.store(scale + row, step, mask=row_mask)
    for first in range(0, fan_in, tile_depth):
        column = (first + place)[None, :]
        mask = row_mask[:, None] & (column < fan_in)
        values = tl.load(x + (begin + column), mask=mask, other=0.0)
        steps = tl.zeros_like(values) + step[:, None]
        tl.store(q + (begin + column), saturate(tl.div_rn(values, steps), -127.0, 127.0), mask=mask)


@triton.jit
def linear_dynamic_kernel(
    q,  # int8 [rows, fan_in]
    scale,  # float32 [rows]
    weight,  # int8 [features, fan_in]
    weight_scale,  # float32 [features]
    bias,  # float32 [features], where biased
    out,  # float32 [rows, features]
    rows,
    features,
    fan_in,
    biased: tl.constexpr,
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
    q_row, filters = q + row * fan_in, weight + feature * fan_in
    accumulator = accumulate(
        accumulator, q_row, filters, row_mask, feature_mask, 1, 1, 0, fan_in, tile_depth, even_depth
    )
    row_scale = tl.load(scale + row, mask=row_mask, other=0.0)
    y = accumulator.to(tl.float32) * (row_scale * tl.load(weight_scale + feature, mask=feature_mask, other=0.0))
    if biased:
        y += tl.load(bias + feature, mask=feature_mask, other=0.0)
    tl.store(out + (row * features + feature), y, mask=row_mask & feature_mask)


def plan(
    x: Tensor,
    weight: Tensor,
    weight_scale: Tensor,
    bias: Tensor | None = None,
    *,
    out: Tensor,
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`linear_dynamic`, all of them dense.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    features, fan_in = weight.shape
    if not out.numel():
        return ()
    rows = out.numel() // features
    config = config or heuristic(rows, fan_in, features, capability)
    q, scale = torch.empty_like(x, dtype=torch.int8), x.new_empty(rows)
    arguments: dict[str, Tensor | int | float] = {
        "q": q,
        "scale": scale,
        "weight": weight,
        "weight_scale": weight_scale,
        "bias": weight_scale if bias is None else bias,
        "out": out,
        "rows": rows,
        "features": features,
        "fan_in": fan_in,
    }
    constants = {
        "biased": bias is not None,
        "tile_rows": config.rows,
        "tile_features": config.columns,
        "tile_depth": config.depth,
        "group": config.group,
        "even_depth": fan_in % config.depth == 0,
    }
    grid = (triton.cdiv(rows, config.rows) * triton.cdiv(features, config.columns),)
    product = Launch(linear_dynamic_kernel, arguments, constants, grid, config.warps, config.stages)
    return _quantize(x, q, scale), product


def _quantize(x: Tensor, q: Tensor, scale: Tensor) -> Launch:
    """The launch that fills the int8 rows and their scales."""
    rows, fan_in = scale.numel(), x.shape[-1]
    depth = min(triton.next_power_of_2(fan_in), _ELEMENTS)
    height = min(_ELEMENTS // depth, 16)
    return Launch(
        quantize_rows_kernel,
        {"x": x, "q": q, "scale": scale, "rows": rows, "fan_in": fan_in},
        {"tile_rows": height, "tile_depth": depth},
        (triton.cdiv(rows, height),),
        _WARPS,
    )


def linear_dynamic(
    x: Tensor,
    weight: Tensor,
    weight_scale: Tensor,
    bias: Tensor | None = None,
    *,
    out: Tensor | None = None,
    config: Config | None = None,
) -> Tensor:
    """Launch the kernels; arguments as of ``torch.ops.edgekit.linear_dynamic``.

    Args:
        x: float32 [..., K], K from 1 to 131,071.
        weight: int8 [N, K].
        weight_scale: float32 [N].
        bias: float32 [N], or None.
        out: float32 [..., N], dense; allocated where it is not given.
        config: launch configuration of the product; the heuristic's where it is not given.
    """
    out = x.new_empty((*x.shape[:-1], weight.shape[0])) if out is None else out
    x, weight, weight_scale = (tensor.contiguous() for tensor in (x, weight, weight_scale))
    bias = None if bias is None else bias.contiguous()
    run(plan(x, weight, weight_scale, bias, out=out, config=config, capability=capability_of(x)))
    return out
