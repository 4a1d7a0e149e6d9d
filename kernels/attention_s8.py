"""``softmax(q @ k.T) @ v`` of int8, scores and weights int8 too: the bytes of the three operators.

The weights of a row are rounded once its largest score and the exact int64 sum of its table entries are known. A sum
of rounded exponentials cannot be rescaled when a larger score turns up, so the keys are walked three times, and the
scores are computed anew each time: tensor cores do that faster than memory would give them back. Keys that fit one
tile are walked once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels import matmul_s8, softmax_s8
from edgekit.kernels.batches import arrange, matrix_at
from edgekit.kernels.launch import Capability, Launch, capability_of, multiprocessors, run
from edgekit.kernels.requant import requantize, saturate
from edgekit.kernels.rows import bits, float64
from edgekit.kernels.softmax_s8 import weights

_DEEPEST = 256  # head that a program holds whole; deeper ones take the three operators


@dataclass(frozen=True)
class Config:
    """Launch configuration.

    Attributes:
        rows: queries of one program.
        keys: per step.
        values: columns of the result of one program.
        warps: warps per program.
        stages: loads in flight.
    """

    rows: int
    keys: int
    values: int
    warps: int
    stages: int


def heuristic(queries: int, depth: int, values: int, batch: int, capability: Capability) -> Config:
    """As many queries as still give every multiprocessor a program, so that keys and values are read less often.

    Args:
        queries: of one matrix.
        depth: of queries and keys.
        values: columns of v.
        batch: matrices.
        capability: of the device, (8, 7) for Orin.
    """
    columns = min(max(triton.next_power_of_2(values), 16), 128)
    programs = batch * triton.cdiv(values, columns)
    wanted = multiprocessors(capability)
    filling = (rows for rows in (64, 32) if rows < 2 * queries and programs * triton.cdiv(queries, rows) >= wanted)
    keys = 32 if 64 < depth <= 128 else 64  # of no spilled registers on Orin
    return Config(next(filling, 16), keys, columns, 4 if depth <= 64 else 8, 2)


@triton.jit
def score_tile(
    first,  # of the keys
    q_tile,  # int8 [rows, depth]
    k,  # pointers to the first key, [depth, 1]
    mask,  # pointers to the rows of the mask, [rows, 1]
    row_mask,  # [rows, 1]
    depth_mask,  # [depth, 1]
    keys,
    k_key,
    mask_key,
    multiplier,
    masked: tl.constexpr,
    tile_keys: tl.constexpr,
):
    """Scores [rows, keys] within int8, as int32, and which of them take part."""
    key = first + tl.arange(0, tile_keys).to(tl.int64)[None, :]
    key_mask = key < keys
    products = tl.dot(q_tile, tl.load(k + key * k_key, mask=key_mask & depth_mask, other=0), out_dtype=tl.int32)
    taken = row_mask & key_mask
    if masked:
        taken &= tl.load(mask + key * mask_key, mask=taken, other=0) != 0
    return requantize(products, multiplier, -128.0, 127.0).to(tl.int32), taken


@triton.jit
def attention_s8_kernel(
    q,  # int8, matrices of [queries, depth]
    k,  # int8, matrices of [keys, depth]
    v,  # int8, matrices of [keys, values]
    mask,  # uint8, matrices of [queries, keys], where masked
    table,  # int32 [256]
    out,  # int8 [batch, queries, values]
    queries,
    keys,
    depth,
    values,
    q_query,  # from one query to the next, as all below
    q_step,
    k_key,
    k_step,
    v_key,
    v_value,
    mask_query,
    mask_key,
    size_1,  # of the batch, and what else matrix_at() takes
    size_2,
    size_3,
    q_stride_0,
    q_stride_1,
    q_stride_2,
    q_stride_3,
    k_stride_0,
    k_stride_1,
    k_stride_2,
    k_stride_3,
    v_stride_0,
    v_stride_1,
    v_stride_2,
    v_stride_3,
    mask_stride_0,
    mask_stride_1,
    mask_stride_2,
    mask_stride_3,
    softmax_scale,  # float64, as bits
    score_multiplier,
    multiplier,
    masked: tl.constexpr,
    one_step: tl.constexpr,  # the keys fit a tile
    tile_rows: tl.constexpr,
    tile_keys: tl.constexpr,
    tile_depth: tl.constexpr,
    tile_values: tl.constexpr,
):
    """One program computes some columns of the results of some queries."""
    row_tiles, value_tiles = tl.cdiv(queries, tile_rows), tl.cdiv(values, tile_values)
    matrix = (tl.program_id(0) // (row_tiles * value_tiles)).to(tl.int64)
    q += matrix_at(matrix, size_1, size_2, size_3, q_stride_0, q_stride_1, q_stride_2, q_stride_3)
    k += matrix_at(matrix, size_1, size_2, size_3, k_stride_0, k_stride_1, k_stride_2, k_stride_3)
    v += matrix_at(matrix, size_1, size_2, size_3, v_stride_0, v_stride_1, v_stride_2, v_stride_3)
    mask += matrix_at(matrix, size_1, size_2, size_3, mask_stride_0, mask_stride_1, mask_stride_2, mask_stride_3)
    tile = tl.program_id(0) % (row_tiles * value_tiles)
    row = (tile // value_tiles).to(tl.int64) * tile_rows + tl.arange(0, tile_rows)[:, None]
    value = (tile % value_tiles).to(tl.int64) * tile_values + tl.arange(0, tile_values)[None, :]
    place, key = tl.arange(0, tile_depth).to(tl.int64), tl.arange(0, tile_keys).to(tl.int64)
    row_mask, value_mask, depth_mask = row < queries, value < values, (place < depth)[:, None]
    q_tile = tl.load(q + row * q_query + place[None, :] * q_step, mask=row_mask & (place < depth)[None, :], other=0)
    k += place[:, None] * k_step
    mask += row * mask_query
    if one_step:
        score, taken = score_tile(
            0, q_tile, k, mask, row_mask, depth_mask, keys, k_key, mask_key, score_multiplier, masked, tile_keys
        )
    top = tl.full((tile_rows,), -128, dtype=tl.int32)
    for first in range(0, keys, tile_keys):
        if not one_step:
            score, taken = score_tile(
                first, q_tile, k, mask, row_mask, depth_mask, keys, k_key, mask_key, score_multiplier, masked, tile_keys
            )
        top = tl.maximum(top, tl.max(tl.where(taken, score, -128), axis=1))
    total = tl.zeros((tile_rows,), dtype=tl.int64)
    for first in range(0, keys, tile_keys):
        if not one_step:
            score, taken = score_tile(
                first, q_tile, k, mask, row_mask, depth_mask, keys, k_key, mask_key, score_multiplier, masked, tile_keys
            )
        total += tl.sum(weights(table, top, score, taken).to(tl.int64), axis=1)
    total = tl.where(total == 0, 1, total)  # nothing takes part, and every weight is 0
    r = (1.0 / (total.to(tl.float64) * float64(softmax_scale))).to(tl.float32)[:, None]
    accumulator = tl.zeros((tile_rows, tile_values), dtype=tl.int32)
    for first in range(0, keys, tile_keys):
        if not one_step:
            score, taken = score_tile(
                first, q_tile, k, mask, row_mask, depth_mask, keys, k_key, mask_key, score_multiplier, masked, tile_keys
            )
        y = saturate(weights(table, top, score, taken).to(tl.float32) * r, -128.0, 127.0)
        key_row = (first + key)[:, None]
        v_tile = tl.load(v + key_row * v_key + value * v_value, mask=(key_row < keys) & value_mask, other=0)
        accumulator = tl.dot(y, v_tile, accumulator, out_dtype=tl.int32)
    target = out + ((matrix * queries + row) * values + value)
    tl.store(target, requantize(accumulator, multiplier, -128.0, 127.0), mask=row_mask & value_mask)


def plan(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    score_multiplier: float,
    table: Tensor,
    softmax_scale: float,
    multiplier: float,
    mask: Tensor | None = None,
    *,
    out: Tensor,
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`attention_s8`, the table dense.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    if not out.numel():
        return ()
    if q.shape[-1] > _DEEPEST:
        return _apart(q, k, v, score_multiplier, table, softmax_scale, multiplier, mask, out, capability)
    batch, (queries, values), (keys, depth) = out.shape[:-2], out.shape[-2:], k.shape[-2:]
    taken = out[..., :1, :1] if mask is None else mask.view(torch.uint8)  # out stands in, and is not read
    matrices, told = arrange(batch, q=q, k=k, v=v, mask=taken.expand(*batch, queries, keys))
    config = config or heuristic(queries, depth, values, batch.numel(), capability)
    arguments: dict[str, Tensor | int | float] = {
        **matrices,
        "table": table,
        "out": out,
        "queries": queries,
        "keys": keys,
        "depth": depth,
        "values": values,
        **_steps(**matrices),
        **told,
        "softmax_scale": bits(softmax_scale),
        "score_multiplier": float(score_multiplier),
        "multiplier": float(multiplier),
    }
    constants = {
        "masked": mask is not None,
        "one_step": keys <= config.keys,
        "tile_rows": config.rows,
        "tile_keys": config.keys,
        "tile_depth": max(triton.next_power_of_2(depth), 32),
        "tile_values": config.values,
    }
    grid = (batch.numel() * triton.cdiv(queries, config.rows) * triton.cdiv(values, config.values),)
    return (Launch(attention_s8_kernel, arguments, constants, grid, config.warps, config.stages),)


def _steps(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> dict[str, int]:
    return {
        "q_query": q.stride(-2),
        "q_step": q.stride(-1),
        "k_key": k.stride(-2),
        "k_step": k.stride(-1),
        "v_key": v.stride(-2),
        "v_value": v.stride(-1),
        "mask_query": mask.stride(-2),
        "mask_key": mask.stride(-1),
    }


def _apart(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    score_multiplier: float,
    table: Tensor,
    softmax_scale: float,
    multiplier: float,
    mask: Tensor | None,
    out: Tensor,
    capability: Capability,
) -> tuple[Launch, ...]:
    batch = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2])
    scores = q.new_empty((*batch, q.shape[-2], k.shape[-2]))
    weighed = torch.empty_like(scores)
    return (
        *matmul_s8.plan(q, k.transpose(-2, -1), score_multiplier, out=scores, capability=capability),
        *softmax_s8.plan(scores, table, softmax_scale, mask, out=weighed, capability=capability),
        *matmul_s8.plan(weighed, v, multiplier, out=out, capability=capability),
    )


def attention_s8(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    score_multiplier: float,
    table: Tensor,
    softmax_scale: float,
    multiplier: float,
    mask: Tensor | None = None,
    *,
    out: Tensor | None = None,
    config: Config | None = None,
) -> Tensor:
    """Launch the kernel; arguments as of ``torch.ops.edgekit.attention_s8``.

    Args:
        q: int8 [..., T, D], of any strides, as k, v and mask.
        k: int8 [..., S, D].
        v: int8 [..., S, E]; the dimensions in front broadcast.
        score_multiplier: of the scores, the scale of the attention in it.
        table: int32 [256], as ``softmax_s8`` takes it.
        softmax_scale: of the weights.
        multiplier: of the result.
        mask: bool, broadcasts to [..., T, S]; True takes part.
        out: int8 [..., T, E], dense; allocated where it is not given.
        config: launch configuration; the heuristic's where it is not given.
    """
    if out is None:
        batch = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
        out = q.new_empty((*batch, q.shape[-2], v.shape[-1]))
    launches = plan(
        *(q, k, v, score_multiplier, table.contiguous(), softmax_scale, multiplier, mask),
        out=out,
        config=config,
        capability=capability_of(q),
    )
    run(launches)
    return out
