"""``out = sat8(rne(float32(a * b) * multiplier))``: the product of two int8 tensors that broadcast, value by value.

Bound by memory: two bytes in, one byte out. Operands are read where they lie, by strides.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels.broadcast import Config, arrange, heuristic, offsets, tile
from edgekit.kernels.launch import Capability, Launch, capability_of, run
from edgekit.kernels.requant import requantize

__all__ = ["Config", "heuristic", "mul_s8", "plan"]


@triton.jit
def multiply(a, b, multiplier, lo, hi):
    """Product of int8 tiles: exact, then requantised."""
    return requantize(a.to(tl.int32) * b.to(tl.int32), multiplier, lo, hi)


@triton.jit
def mul_s8_kernel(
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
    multiplier,  # float32
    lo,  # float, as hi
    hi,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):
    """One program multiplies one tile."""
    row, column, mask = tile(rows, columns, tile_rows, tile_columns)
    at_a = offsets(row, column, size_1, size_2, a_stride_0, a_stride_1, a_stride_2, a_stride_3)
    at_b = offsets(row, column, size_1, size_2, b_stride_0, b_stride_1, b_stride_2, b_stride_3)
    first = tl.load(a + at_a, mask=mask, other=0)
    second = tl.load(b + at_b, mask=mask, other=0)
    product = multiply(first, second, multiplier, lo, hi)
    tl.store(out + row[:, None] * columns + column[None, :], product, mask=mask)


def plan(
    a: Tensor,
    b: Tensor,
    multiplier: float,
    lo: int = -128,
    hi: int = 127,
    *,
    out: Tensor,
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`mul_s8`.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    if not out.numel():
        return ()
    layout, (a, b) = arrange(out, a, b)
    config = config or heuristic(layout.rows, layout.columns, capability)
    return (
        Launch(
            mul_s8_kernel,
            {
                "a": a,
                "b": b,
                "out": out,
                **layout.arguments("a", "b"),
                "multiplier": multiplier,
                "lo": float(lo),
                "hi": float(hi),
            },
            config.constants(),
            layout.grid(config),
            config.warps,
        ),
    )


def mul_s8(
    a: Tensor,
    b: Tensor,
    multiplier: float,
    lo: int = -128,
    hi: int = 127,
    *,
    out: Tensor | None = None,
    config: Config | None = None,
) -> Tensor:
    """Launch the kernel; arguments as of ``torch.ops.edgekit.mul_s8``.

    Args:
        a, b: int8; they broadcast.
        multiplier: ``(sa * sb) / sy``.
        lo, hi: bounds of the result.
        out: int8, dense in any order, of the shape that both make; allocated where it is not given.
        config: launch configuration; the heuristic's where it is not given.
    """
    out = a.new_empty(torch.broadcast_shapes(a.shape, b.shape)) if out is None else out
    run(plan(a, b, multiplier, lo, hi, out=out, config=config, capability=capability_of(a)))
    return out
