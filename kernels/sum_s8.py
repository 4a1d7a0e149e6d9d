"""``out = sat8(rne(float32(sum) * (sx / (float32(n) * sy))))``: sums (n = 1) and means over whole axes, of any length.

Bound by memory: the tensor is read once, where it lies. What is kept makes the rows of a tile, what is summed over its
columns; a program walks along its rows in blocks. Sums fit int32: fewer than 2^24 values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels.broadcast import RANK, Layout, collapse, walk
from edgekit.kernels.launch import Capability, Launch, capability_of, run
from edgekit.kernels.requant import requantize


@dataclass(frozen=True)
class Config:
    """Launch configuration.

    Attributes:
        rows: sums per program.
        columns: values of each that it reads at a time.
        warps: warps per program.
    """

    rows: int
    columns: int
    warps: int


def heuristic(sums: int, length: int, dense: bool, capability: Capability) -> Config:  # noqa: ARG001
    """Wide along what lies side by side in memory.

    Args:
        sums: how many there are.
        length: values in each.
        dense: whether the values of a sum are neighbours in memory.
        capability: of the device; the magnitude of a tile does not depend on it.
    """
    rows, columns = min(triton.next_power_of_2(sums), 64), min(triton.next_power_of_2(length), 2048)
    if dense:
        return Config(max(1, min(rows, 2048 // columns)), columns, 4)
    return Config(rows, max(1, min(columns, 2048 // rows)), 4)


@triton.jit
def place(index, size_1, size_2, size_3, stride_0, stride_1, stride_2, stride_3):
    """Offset of the int64 ``index`` among four dimensions."""
    return walk(index // size_3, size_1, size_2, stride_0, stride_1, stride_2) + index % size_3 * stride_3


@triton.jit
def sum_s8_kernel(
    x,  # int8
    out,  # int8 [sums]
    sums,
    length,
    size_1,  # of what is kept, as four dimensions
    size_2,
    size_3,
    stride_0,
    stride_1,
    stride_2,
    stride_3,
    sum_size_1,  # of what is summed over
    sum_size_2,
    sum_size_3,
    sum_stride_0,
    sum_stride_1,
    sum_stride_2,
    sum_stride_3,
    multiplier,  # float32
    lo,  # float, as hi
    hi,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):
    """One program computes ``tile_rows`` sums."""
    row = tl.program_id(0).to(tl.int64) * tile_rows + tl.arange(0, tile_rows)
    begin = place(row, size_1, size_2, size_3, stride_0, stride_1, stride_2, stride_3)
    total = tl.zeros((tile_rows, tile_columns), tl.int32)
    for start in range(0, length, tile_columns):
        column = start + tl.arange(0, tile_columns).to(tl.int64)
        at = place(column, sum_size_1, sum_size_2, sum_size_3, sum_stride_0, sum_stride_1, sum_stride_2, sum_stride_3)
        mask = (row < sums)[:, None] & (column < length)[None, :]
        total += tl.load(x + begin[:, None] + at[None, :], mask=mask, other=0).to(tl.int32)
    tl.store(out + row, requantize(tl.sum(total, axis=1), multiplier, lo, hi), mask=row < sums)


def layouts(x: Tensor, dim: Sequence[int]) -> tuple[Tensor, Layout, Layout]:
    """What is kept and what is summed over; of a dense copy, where four dimensions of each do not suffice."""
    summed = sorted(d % x.dim() for d in dim)
    kept = [d for d in range(x.dim()) if d not in summed]
    x, count = x.permute(kept + summed), len(kept)
    parts = collapse(x.shape[:count], x.stride()[:count]), collapse(x.shape[count:], x.stride()[count:])
    if max(len(part.sizes) for part in parts) > RANK:
        x = x.contiguous()
        parts = collapse(x.shape[:count], x.stride()[:count]), collapse(x.shape[count:], x.stride()[count:])
    return x, *parts


def scale_ratio(count: int, input_scale: float, output_scale: float) -> float:
    """``sx / (float32(n) * sy)`` in float32."""
    sx, sy = torch.tensor([input_scale, output_scale], dtype=torch.float32)
    return float(sx / (float(count) * sy))


def plan(
    x: Tensor,
    dim: Sequence[int],
    keepdim: bool,  # noqa: ARG001  # the shape of ``out`` says it
    mean: bool,
    input_scale: float,
    output_scale: float,
    lo: int = -128,
    hi: int = 127,
    *,
    out: Tensor,
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`sum_s8`.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    if not out.numel():
        return ()
    x, keeps, sums = layouts(x, dim)
    length = prod(sums.sizes)
    config = config or heuristic(out.numel(), length, sums.strides[0][-1] == 1, capability)
    return (
        Launch(
            sum_s8_kernel,
            {
                "x": x,
                "out": out,
                "sums": out.numel(),
                "length": length,
                **{f"size_{i}": keeps.sizes[i] for i in range(1, RANK)},
                **{f"stride_{i}": stride for i, stride in enumerate(keeps.strides[0])},
                **{f"sum_size_{i}": sums.sizes[i] for i in range(1, RANK)},
                **{f"sum_stride_{i}": stride for i, stride in enumerate(sums.strides[0])},
                "multiplier": scale_ratio(length if mean else 1, input_scale, output_scale),
                "lo": float(lo),
                "hi": float(hi),
            },
            {"tile_rows": config.rows, "tile_columns": config.columns},
            (triton.cdiv(out.numel(), config.rows),),
            config.warps,
        ),
    )


def sum_s8(
    x: Tensor,
    dim: Sequence[int],
    keepdim: bool,
    mean: bool,
    input_scale: float,
    output_scale: float,
    lo: int = -128,
    hi: int = 127,
    *,
    out: Tensor,
    config: Config | None = None,
) -> Tensor:
    """Launch the kernel; arguments as of ``torch.ops.edgekit.sum_s8``.

    Args:
        x: int8, any shape and strides.
        dim: the axes that are summed over, fewer than 2^24 values in all.
        keepdim: they stay, with size 1.
        mean: n is their number of values.
        input_scale, output_scale: ``sx`` and ``sy``.
        lo, hi: bounds of the result.
        out: int8, dense, without the axes summed over, or with size 1 there.
        config: launch configuration; the heuristic's where it is not given.
    """
    options = dim, keepdim, mean, input_scale, output_scale, lo, hi
    run(plan(x, *options, out=out, config=config, capability=capability_of(x)))
    return out
