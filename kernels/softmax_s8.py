"""``out = sat8(rne(float32(T[max - q]) * r))``, ``r = float32(1 / (sum T[max - q] * sy))``: softmax of int8 rows.

Three passes over a row, of which two read the caches: the largest value, the int64 sum of the weights, the results.
The reciprocal is the only division, in float64, one for each row.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels.broadcast import RANK, collapse, walk
from edgekit.kernels.launch import Capability, Launch, capability_of, run
from edgekit.kernels.requant import saturate
from edgekit.kernels.rows import Config, bits, float64, heuristic, launches, own_rows

__all__ = ["Config", "heuristic", "plan", "softmax_s8"]


@triton.jit
def load_taken(x, mask, row, column, rows, length, begin, mask_stride, masked: tl.constexpr):
    """An int32 tile of values, and which of them take part."""
    taken = (row < rows)[:, None] & (column < length)[None, :]
    q = tl.load(x + row[:, None] * length + column[None, :], mask=taken, other=0).to(tl.int32)
    if masked:
        taken &= tl.load(mask + begin[:, None] + column[None, :] * mask_stride, mask=taken, other=0) != 0
    return q, taken


@triton.jit
def weights(table, top, q, taken):
    """Entries of the table for the distances from the largest value of each row; 0 for what does not take part."""
    distance = tl.maximum(top[:, None] - q, 0)  # a masked value may be larger than all that take part
    return tl.load(table + distance.to(tl.int64), mask=taken, other=0)


@triton.jit
def softmax_s8_kernel(
    x,  # int8 [rows, length]
    table,  # int32 [256]
    mask,  # uint8, where masked
    out,  # int8 [rows, length]
    rows,
    length,
    size_1,  # of the rows as four dimensions
    size_2,
    size_3,
    mask_stride_0,  # of the mask along them
    mask_stride_1,
    mask_stride_2,
    mask_stride_3,
    mask_stride,  # along a row
    output_scale,  # float64, as bits
    masked: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):
    """One program computes whole rows."""
    row = own_rows(tile_rows)
    begin = walk(row // size_3, size_1, size_2, mask_stride_0, mask_stride_1, mask_stride_2)
    begin += row % size_3 * mask_stride_3
    block = tl.arange(0, tile_columns).to(tl.int64)
    top = tl.full((tile_rows,), -128, tl.int32)
    for start in range(0, length, tile_columns):
        q, taken = load_taken(x, mask, row, start + block, rows, length, begin, mask_stride, masked)
        top = tl.maximum(top, tl.max(tl.where(taken, q, -128), axis=1))
    total = tl.zeros((tile_rows,), tl.int64)
    for start in range(0, length, tile_columns):
        q, taken = load_taken(x, mask, row, start + block, rows, length, begin, mask_stride, masked)
        total += tl.sum(weights(table, top, q, taken).to(tl.int64), axis=1)
    r = (1.0 / (total.to(tl.float64) * float64(output_scale))).to(tl.float32)
    for start in range(0, length, tile_columns):
        column = start + block
        q, taken = load_taken(x, mask, row, column, rows, length, begin, mask_stride, masked)
        y = saturate(weights(table, top, q, taken).to(tl.float32) * r[:, None], -128.0, 127.0)
        exists = (row < rows)[:, None] & (column < length)[None, :]
        tl.store(out + row[:, None] * length + column[None, :], y, mask=exists)


def plan(
    x: Tensor,
    table: Tensor,
    output_scale: float,
    mask: Tensor | None = None,
    *,
    out: Tensor,
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`softmax_s8`, ``x`` and ``table`` dense.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    if not out.numel():
        return ()
    length, rows = x.shape[-1], x.numel() // x.shape[-1]
    config = config or heuristic(rows, length, capability)
    taken = (out if mask is None else mask.view(torch.uint8)).expand(x.shape)
    layout = collapse(x.shape[:-1], taken.stride()[:-1])
    if len(layout.sizes) > RANK:
        taken = taken.contiguous()
        layout = collapse(x.shape[:-1], taken.stride()[:-1])
    tensors = {"x": x, "table": table, "mask": taken, "out": out}
    values = {f"size_{i}": layout.sizes[i] for i in range(1, RANK)}
    values |= {f"mask_stride_{i}": stride for i, stride in enumerate(layout.strides[0])}
    values |= {"mask_stride": taken.stride(-1), "output_scale": bits(output_scale)}
    return launches(softmax_s8_kernel, tensors, rows, length, values, config, masked=mask is not None)


def softmax_s8(
    x: Tensor,
    table: Tensor,
    output_scale: float,
    mask: Tensor | None = None,
    *,
    out: Tensor | None = None,
    config: Config | None = None,
) -> Tensor:
    """Launch the kernel; arguments as of ``torch.ops.edgekit.softmax_s8``.

    Args:
        x: int8 [..., N], N < 2^24.
        table: int32 [256]; entry d weighs a value d steps below the largest.
        output_scale: sy.
        mask: bool, broadcasts to ``x``; True takes part.
        out: int8, dense, of the shape of ``x``; allocated where it is not given.
        config: launch configuration; the heuristic's where it is not given.
    """
    x, table = x.contiguous(), table.contiguous()
    out = torch.empty_like(x) if out is None else out
    run(plan(x, table, output_scale, mask, out=out, config=config, capability=capability_of(x)))
    return out
