"""``out = max of each window``, padded with -128: moves bytes.

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

__all__ = ["Config", "heuristic", "max_pool_s8", "plan"]


def heuristic(rows: int, columns: int, capability: Capability) -> Config:
    """Four windows per thread, since a window is a loop.

    Args:
        rows: of all images of the result.
        columns: of one image.
        capability: of the device; (8, 7) for Orin.
    """
    return broadcast.heuristic(rows, columns, capability, values=4)


@triton.jit
def max_pool_s8_kernel(
    x,  # int8 [planes, height, width, channels]
    out,  # int8 [rows, columns], where a plane is out_height rows
    rows,
    columns,
    channels,
    out_height,
    height,
    width,
    taps,  # kernel_height * kernel_width
    kernel_width,
    stride_y,
    stride_x,
    padding_y,
    padding_x,
    dilation_y,
    dilation_x,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):
    """One program computes one tile; all tensors are dense."""
    row, column, mask = tile(rows, columns, tile_rows, tile_columns)
    plane, channel = row // out_height * height, column % channels
    top, left = row % out_height * stride_y - padding_y, column // channels * stride_x - padding_x
    largest = tl.full((tile_rows, tile_columns), -128, tl.int8)
    for tap in range(taps):
        at_y = top + tap // kernel_width * tl.cast(dilation_y, tl.int64)
        at_x = left + tap % kernel_width * tl.cast(dilation_x, tl.int64)
        inside = ((at_y >= 0) & (at_y < height))[:, None] & ((at_x >= 0) & (at_x < width))[None, :]
        offset = ((plane + at_y) * width * channels)[:, None] + (at_x * channels + channel)[None, :]
        values = tl.load(x + offset, mask=mask & inside, other=-128)
        largest = tl.maximum(largest, values)
    tl.store(out + row[:, None] * columns + column[None, :], largest, mask=mask)


def plan(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,  # noqa: ARG001  # the size of ``out`` says it
    *,
    out: Tensor,
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`max_pool_s8`, all of them dense.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    if not out.numel():
        return ()
    rows, columns, channels = rows_of(x, out)
    config = config or heuristic(rows, columns, capability)
    return (
        Launch(
            max_pool_s8_kernel,
            {
                "x": x,
                "out": out,
                "rows": rows,
                "columns": columns,
                "channels": channels,
                "out_height": out.shape[2],
                "height": x.shape[2],
                "width": x.shape[3],
                "taps": kernel[0] * kernel[1],
                "kernel_width": kernel[1],
                "stride_y": stride[0],
                "stride_x": stride[1],
                "padding_y": padding[0],
                "padding_x": padding[1],
                "dilation_y": dilation[0],
                "dilation_x": dilation[1],
            },
            config.constants(),
            (triton.cdiv(rows, config.rows) * triton.cdiv(columns, config.columns),),
            config.warps,
        ),
    )


def max_pool_s8(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    *,
    out: Tensor,
    config: Config | None = None,
) -> Tensor:
    """Launch the kernel; arguments as of ``torch.ops.edgekit.max_pool_s8``.

    Args:
        x: int8 [N, C, H, W].
        kernel, stride, padding, dilation: two numbers, of height and width.
        ceil_mode: the last window may hang over.
        out: int8 [N, C, rows, columns], dense or ``torch.channels_last``; its size says how many windows there are.
        config: launch configuration; the heuristic's where it is not given.
    """
    x = dense_as(x, out)
    options = kernel, stride, padding, dilation, ceil_mode
    run(plan(x, *options, out=out, config=config, capability=capability_of(x)))
    return out
