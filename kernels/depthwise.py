"""Depthwise convolution of int8 images: one input channel for each filter, so a loop over taps and no tensor cores.

Bound by memory. The loads follow the layout: neighbours are channels where those are innermost, columns where not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels.epilogue import finish
from edgekit.kernels.launch import Launch
from edgekit.kernels.pixels import inside, pixels_at
from edgekit.kernels.requant import requantize

_ELEMENTS = 1024  # of a tile: 8 int32 sums in each thread's registers
_WARPS = 4


@dataclass(frozen=True)
class Config:
    """Launch configuration.

    Attributes:
        pixels, channels: of the tile of one program.
        warps: warps per program.
    """

    pixels: int
    channels: int
    warps: int


def heuristic(pixels: int, channels: int, channels_last: bool) -> Config:
    """Neighbours in memory beside each other; small images share a program.

    Args:
        pixels: of the result, in all images.
        channels: of the result.
        channels_last: whether neighbours are channels.
    """
    channels, pixels = triton.next_power_of_2(channels), triton.next_power_of_2(pixels)
    across = min(channels, 64 if channels_last else max(1, _ELEMENTS // pixels))
    return Config(min(pixels, _ELEMENTS // across), across, _WARPS)


@triton.jit
def depthwise_kernel(
    x,  # int8, images
    weight,  # int8 [filters, kernel_height, kernel_width]
    bias,  # int32 [filters]
    multiplier,  # float32 [filters]
    out,  # int8, images
    pixels,  # of the result, in all images
    area,  # of an image of the result
    out_width,
    in_height,
    in_width,
    stride_y,
    stride_x,
    padding_y,
    padding_x,
    dilation_y,
    dilation_x,
    x_image,  # from one image of x to the next, as all below
    x_channel,
    x_row,
    x_column,
    out_image,
    out_channel,
    out_row,
    out_column,
    filters,
    filters_each,  # of one channel of x
    kernel_height,
    lo,  # float, as hi
    hi,
    residual_image,
    residual_channel,
    residual_row,
    residual_column,
    residual,  # int8, images, and what else finish() takes
    table,
    ratio,
    residual_ratio,
    sum_lo,
    sum_hi,
    has_residual: tl.constexpr,
    residual_first: tl.constexpr,
    has_table: tl.constexpr,
    kernel_width: tl.constexpr,
    padded: tl.constexpr,
    narrow: tl.constexpr,  # of pixels_at()
    tile_pixels: tl.constexpr,
    tile_channels: tl.constexpr,
):
    """One program computes one tile of pixels and channels of the result."""
    channel_tiles = tl.cdiv(filters, tile_channels)
    tile = tl.program_id(0) // channel_tiles
    image, row, column = pixels_at(tile, tile_pixels, area, out_width, narrow)
    pixel_mask = (tile.to(tl.int64) * tile_pixels + tl.arange(0, tile_pixels) < pixels)[:, None]
    image, row, column = image[:, None], row[:, None], column[:, None]
    first = (tl.program_id(0) % channel_tiles).to(tl.int64) * tile_channels
    channel = first + tl.arange(0, tile_channels)[None, :]
    channel_mask = channel < filters
    mask = pixel_mask & channel_mask
    top, left = row * stride_y - padding_y, column * stride_x - padding_x
    corner = x + (image * x_image + channel // filters_each * x_channel + top * x_row + left * x_column)
    taps = weight + channel * (kernel_height * kernel_width)
    accumulator = tl.zeros((tile_pixels, tile_channels), dtype=tl.int32)
    for tap_row in range(kernel_height):
        down = tl.zeros((1, 1), dtype=tl.int64) + tap_row
        for tap_column in tl.static_range(kernel_width):
            y, right = down * dilation_y, tl.full((1, 1), tap_column, dtype=tl.int64) * dilation_x
            x_mask = mask
            if padded:
                x_mask = mask & inside(top + y, left + right, in_height, in_width)
            values = tl.load(corner + (y * x_row + right * x_column), mask=x_mask, other=0).to(tl.int32)
            factor = tl.load(taps + (down * kernel_width + tap_column), mask=channel_mask, other=0)
            accumulator += values * factor.to(tl.int32)
    accumulator += tl.load(bias + channel, mask=channel_mask, other=0)
    scale = tl.load(multiplier + channel, mask=channel_mask, other=0.0)
    offset = image * residual_image + channel * residual_channel + row * residual_row + column * residual_column
    result = finish(
        requantize(accumulator, scale, lo, hi),
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
    offset = image * out_image + channel * out_channel + row * out_row + column * out_column
    tl.store(out + offset, result, mask=mask)


def launch(
    arguments: Mapping[str, Tensor | int | float],
    constants: Mapping[str, int | bool],
    channels_last: bool,
    config: Config | None,
) -> Launch:
    """The launch of a convolution with one input channel for each group.

    Args:
        arguments: of the kernel.
        constants: all but the tile's.
        channels_last: whether neighbours are channels.
        config: launch configuration; the heuristic's where it is None.
    """
    pixels, filters = int(arguments["pixels"]), int(arguments["filters"])
    config = config or heuristic(pixels, filters, channels_last)
    tile = {"tile_pixels": config.pixels, "tile_channels": config.channels}
    grid = (triton.cdiv(pixels, config.pixels) * triton.cdiv(filters, config.channels),)
    return Launch(depthwise_kernel, arguments, {**constants, **tile}, grid, config.warps)
