"""``out = sat8(rne(fma(float32(a), ratio_a, float32(b) * ratio_b)))``: the sum of two int8 tensors that broadcast.

Bound by memory: two bytes in, one byte out. Operands are read where they lie, by strides.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels.broadcast import Config, arrange, heuristic, offsets, tile
from edgekit.kernels.launch import Capability, Launch, capability_of, run
from edgekit.kernels.requant import saturate

__all__ = ["Config", "add_s8", "heuristic", "plan"]


@triton.jit
def add(a, b, ratio_a, ratio_b, lo, hi):
    """Sum of int8 tiles: one rounded product, then one fused multiply-add."""
    return saturate(tl.fma(a.to(tl.float32), ratio_a, b.to(tl.float32) * ratio_b), lo, hi)


@triton.jit
def add_s8_kernel(
    a,  # int8
    b,  # int8
    out,  # int8 [rows, columns]
    rows,
    columns,
    size_1,
    size_2,
    a_stride_0,
    a_stride_1,
    a_stride_2,
    a_stride_3,
    b_stride_0,
    b_stride_1,
    b_stride_2,
    b_stride_3,
    ratio_a,  # float32, as ratio_b
    ratio_b,
    lo,  # float, as hi
    hi,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):
    """One program adds one tile."""
    row, column, mask = tile(rows, columns, tile_rows, tile_columns)
    at_a = offsets(row, column, size_1, size_2, a_stride_0, a_stride_1, a_stride_2, a_stride_3)
    at_b = offsets(row, column, size_1, size_2, b_stride_0, b_stride_1, b_stride_2, b_stride_3)
    first = tl.load(a + at_a, mask=mask, other=0)
    second = tl.load(b + at_b, mask=mask, other=0)
    total = add(first, second, ratio_a, ratio_b, lo, hi)
    tl.store(out + row[:, None] * columns + column[None, :], total, mask=mask)


def plan(
    a: Tensor,
    b: Tensor,
    ratio_a: float,
    ratio_b: float,
    lo: int = -128,
    hi: int = 127,
    *,
    out: Tensor,
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`add_s8`.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    if not out.numel():
        return ()
    layout, (a, b) = arrange(out, a, b)
    config = config or heuristic(layout.rows, layout.columns, capability)
    return (
        Launch(
            add_s8_kernel,
            {
                "a": a,
                "b": b,
                "out": out,
                **layout.arguments("a", "b"),
                "ratio_a": ratio_a,
                "ratio_b": ratio_b,
                "lo": float(lo),
                "hi": float(hi),
            },
            config.constants(),
            layout.grid(config),
            config.warps,
        ),
    )


def add_s8(
    a: Tensor,
    b: Tensor,
    ratio_a: float,
    ratio_b: float,
    lo: int = -128,
    hi: int = 127,
    *,
    out: Tensor | None = None,
    config: Config | None = None,
) -> Tensor:
    """Launch the kernel; arguments as of ``torch.ops.edgekit.add_s8``.

    Args:
        a, b: int8; they broadcast.
        ratio_a, ratio_b: ``sa / sy`` and ``sb / sy``; a negative one subtracts.
        lo, hi: bounds of the result.
        out: int8, dense in any order, of the shape that both make; allocated where it is not given.
        config: launch configuration; the heuristic's where it is not given.
    """
    out = a.new_empty(torch.broadcast_shapes(a.shape, b.shape)) if out is None else out
    run(plan(a, b, ratio_a, ratio_b, lo, hi, out=out, config=config, capability=capability_of(a)))
    return out
