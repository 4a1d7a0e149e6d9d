"""``out[m, n] = sat8(rne(float32(sum_k x[m, k] * weight[n, k] + bias[n]) * multiplier[n]))``: int8 to int8.

Tiles of int8 tensor-core products summed in int32 registers; bias, requantisation and bounds follow on the same
registers, so that no int32 reaches memory. Exact: K is at most 131,071, and 131,071 * 128 * 128 < 2^31, so the
saturation that Triton puts on ``mma.sync`` never acts; the bias is added after it, modulo 2^32.
"""

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels.launch import Capability, Launch, capability_of, run
from edgekit.kernels.requant import requantize


@dataclass(frozen=True)
class Config:
    """Launch configuration.

    Attributes:
        rows, features: of the tile of one program.
        depth: of K per step.
        warps: warps per program.
        stages: loads in flight.
    """

    rows: int
    features: int
    depth: int
    warps: int
    stages: int


def heuristic(rows: int, fan_in: int, features: int, capability: Capability) -> Config:
    """Small tiles for a few rows, larger ones where they still fill the device.

    Args:
        rows, fan_in, features: M, K, N.
        capability: of the device, (8, 7) for Orin; before (8, 0) there is no asynchronous copy to overlap with.
    """
    stages = 3 if capability >= (8, 0) else 1
    depth = 32 if fan_in <= 32 else 64 if fan_in <= 64 else 128
    if rows <= 16:
        return Config(16, 64, depth, 4, stages)
    if rows * features < 512 * 512:
        return Config(32, 32, depth, 4, stages)
    return Config(128, 128, min(depth, 64), 8, stages)


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
    tile_rows: tl.constexpr,
    tile_features: tl.constexpr,
    tile_depth: tl.constexpr,
):
    """One program computes one tile of the result; all tensors are dense."""
    row = tl.program_id(0).to(tl.int64) * tile_rows + tl.arange(0, tile_rows)
    feature = tl.program_id(1).to(tl.int64) * tile_features + tl.arange(0, tile_features)
    row_mask, feature_mask = row < rows, feature < features
    accumulator = tl.zeros((tile_rows, tile_features), dtype=tl.int32)
    for start in range(0, fan_in, tile_depth):
        depth = start + tl.arange(0, tile_depth).to(tl.int64)
        depth_mask = depth < fan_in
        x_tile = tl.load(
            x + row[:, None] * fan_in + depth[None, :], mask=row_mask[:, None] & depth_mask[None, :], other=0
        )
        weight_tile = tl.load(
            weight + feature[None, :] * fan_in + depth[:, None],
            mask=feature_mask[None, :] & depth_mask[:, None],
            other=0,
        )
        accumulator = tl.dot(x_tile, weight_tile, accumulator, out_dtype=tl.int32)
    accumulator += tl.load(bias + feature, mask=feature_mask, other=0)[None, :]
    scale = tl.load(multiplier + feature, mask=feature_mask, other=0.0)[None, :]
    target = out + row[:, None] * features + feature[None, :]
    tl.store(target, requantize(accumulator, scale, lo, hi), mask=row_mask[:, None] & feature_mask[None, :])


def plan(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    lo: int = -128,
    hi: int = 127,
    *,
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
    rows = out.numel() // features
    config = config or heuristic(rows, fan_in, features, capability)
    return (
        Launch(
            linear_s8_kernel,
            {
                "x": x,
                "weight": weight,
                "bias": bias,
                "multiplier": multiplier,
                "out": out,
                "rows": rows,
                "features": features,
                "fan_in": fan_in,
                "lo": float(lo),
                "hi": float(hi),
            },
            {"tile_rows": config.rows, "tile_features": config.features, "tile_depth": config.depth},
            (triton.cdiv(rows, config.rows), triton.cdiv(features, config.features)),
            config.warps,
            config.stages,
        ),
    )


def linear_s8(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    lo: int = -128,
    hi: int = 127,
    *,
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
        out: int8 [..., N], dense; allocated where it is not given.
        config: launch configuration; the heuristic's where it is not given.
    """
    out = x.new_empty((*x.shape[:-1], weight.shape[0])) if out is None else out
    x, weight, bias, multiplier = (tensor.contiguous() for tensor in (x, weight, bias, multiplier))
    run(plan(x, weight, bias, multiplier, lo, hi, out=out, config=config, capability=capability_of(x)))
    return out
