"""``out = sat8(rne(float32(sum of the window) * multiplier[n]))``, n torch's divisor for that window.

Bound by memory. A row of a tile is a row of an image of the result, so that a program divides for rows and not for
values; where windows overlap, the caches hold what they share.
"""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels import broadcast
from edgekit.kernels.broadcast import Config, tile
from edgekit.kernels.launch import Capability, Launch, capability_of, run
from edgekit.kernels.pixels import dense_as, rows_of
from edgekit.kernels.requant import requantize

__all__ = ["Config", "avg_pool_s8", "heuristic", "plan"]


def heuristic(rows: int, columns: int, capability: Capability) -> Config:
    """Four windows per thread, since a window is a loop.

    Args:
        rows: of all images of the result.
        columns: of one image.
        capability: of the device; (8, 7) for Orin.
    """
    return broadcast.heuristic(rows, columns, capability, values=4)


@triton.jit
def counted(start, kernel, size, margin):
    """How many positions of a window count along one axis: those inside, ``margin`` positions of padding included."""
    return tl.minimum(start + kernel, size + margin) - tl.maximum(start, -margin)


@triton.jit
def avg_pool_s8_kernel(
    x,  # int8 [planes, height, width, channels]
    multiplier,  # float32 [kernel_height * kernel_width + 1]
    out,  # int8 [rows, columns], where a plane is out_height rows
    rows,
    columns,
    channels,
    out_height,
    height,
    width,
    kernel_height,
    kernel_width,
    stride_y,
    stride_x,
    padding_y,
    padding_x,
    margin_y,  # the padding, where it counts; else 0
    margin_x,
    lo,  # float, as hi
    hi,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):
    """One program computes one tile; all tensors are dense."""
    row, column, mask = tile(rows, columns, tile_rows, tile_columns)
    plane, channel = row // out_height * height, column % channels
    top, left = row % out_height * stride_y - padding_y, column // channels * stride_x - padding_x
    total = tl.zeros((tile_rows, tile_columns), tl.int32)
    for tap in range(kernel_height * kernel_width):
        at_y, at_x = top + tap // kernel_width, left + tap % kernel_width
        inside = ((at_y >= 0) & (at_y < height))[:, None] & ((at_x >= 0) & (at_x < width))[None, :]
        offset = ((plane + at_y) * width * channels)[:, None] + (at_x * channels + channel)[None, :]
        total += tl.load(x + offset, mask=mask & inside, other=0).to(tl.int32)
    high, wide = counted(top, kernel_height, height, margin_y), counted(left, kernel_width, width, margin_x)
    scale = tl.load(multiplier + high[:, None] * wide[None, :], mask=mask, other=0.0)
    tl.store(out + row[:, None] * columns + column[None, :], requantize(total, scale, lo, hi), mask=mask)


def plan(
    x: Tensor,
    multiplier: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,  # noqa: ARG001  # the size of ``out`` says it
    count_include_pad: bool,
    lo: int = -128,
    hi: int = 127,
    *,
    out: Tensor,
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`avg_pool_s8`, all of them dense.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    if not out.numel():
        return ()
    rows, columns, channels = rows_of(x, out)
    config = config or heuristic(rows, columns, capability)
    return (
        Launch(
            avg_pool_s8_kernel,
            {
                "x": x,
                "multiplier": multiplier,
                "out": out,
                "rows": rows,
                "columns": columns,
                "channels": channels,
                "out_height": out.shape[2],
                "height": x.shape[2],
                "width": x.shape[3],
                "kernel_height": kernel[0],
                "kernel_width": kernel[1],
                "stride_y": stride[0],
                "stride_x": stride[1],
                "padding_y": padding[0],
                "padding_x": padding[1],
                "margin_y": padding[0] if count_include_pad else 0,
                "margin_x": padding[1] if count_include_pad else 0,
                "lo": float(lo),
                "hi": float(hi),
            },
            config.constants(),
            (triton.cdiv(rows, config.rows) * triton.cdiv(columns, config.columns),),
            config.warps,
        ),
    )


def avg_pool_s8(
    x: Tensor,
    multiplier: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    lo: int = -128,
    hi: int = 127,
    *,
    out: Tensor,
    config: Config | None = None,
) -> Tensor:
    """Launch the kernel; arguments as of ``torch.ops.edgekit.avg_pool_s8``.

    Args:
        x: int8 [N, C, H, W].
        multiplier: float32 [kh * kw + 1], one for each number of values in a window.
        kernel, stride, padding: two numbers, of height and width.
        ceil_mode: the last window may hang over; what hangs over never counts.
        count_include_pad: padding counts in n.
        lo, hi: bounds of the result.
        out: int8 [N, C, rows, columns], dense or ``torch.channels_last``; its size says how many windows there are.
        config: launch configuration; the heuristic's where it is not given.
    """
    x, multiplier = dense_as(x, out), multiplier.contiguous()
    options = kernel, stride, padding, ceil_mode, count_include_pad, lo, hi
    run(plan(x, multiplier, *options, out=out, config=config, capability=capability_of(x)))
    return out
