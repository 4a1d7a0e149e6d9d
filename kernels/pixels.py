"""Where the pixels of a tile lie, and which of an input's a window covers: what convolutions share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
import triton
import triton.language as tl
from torch import Tensor

Pair: TypeAlias = Sequence[int]  # height, width


def geometry(x: Tensor, out: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> dict[str, int]:
    """What a convolution is told of sizes, window and strides, by parameter.

    Args:
        x, out: images.
    """
    height, width = out.shape[2:]
    return {
        "pixels": out.shape[0] * height * width,
        "area": height * width,
        "out_width": width,
        "in_height": x.shape[2],
        "in_width": x.shape[3],
        "stride_y": stride[0],
        "stride_x": stride[1],
        "padding_y": padding[0],
        "padding_x": padding[1],
        "dilation_y": dilation[0],
        "dilation_x": dilation[1],
        **steps_of("x", x),
        **steps_of("out", out),
    }


def steps_of(name: str, images: Tensor) -> dict[str, int]:
    """From one image, channel, row and column to the next, by parameter."""
    return {f"{name}_{axis}": images.stride(i) for i, axis in enumerate(("image", "channel", "row", "column"))}


_LAYOUTS = (torch.contiguous_format, torch.channels_last)


def _layouts(*images: Tensor) -> list[torch.memory_format]:
    """Those in which all of them are dense; images of one pixel or one channel are so in both."""
    return [layout for layout in _LAYOUTS if all(one.is_contiguous(memory_format=layout) for one in images)]


def dense_as(x: Tensor, out: Tensor) -> Tensor:
    """Images ``x`` in a layout that ``out`` has, too."""
    return x if _layouts(x, out) else x.contiguous(memory_format=_layouts(out)[0])


def rows_of(x: Tensor, out: Tensor) -> tuple[int, int, int]:
    """``out`` as rows that are rows of one image: how many, of how many values, and the channels side by side.

    Channels are in the columns where they lie innermost in both (``torch.channels_last``); else each is an image of its
    own.
    """
    count, channels, height, width = out.shape
    if _layouts(x, out)[0] is torch.contiguous_format:
        return count * channels * height, width, 1
    return count * height, width * channels, channels


@triton.jit
def pixels_at(tile, tile_pixels: tl.constexpr, area, width, narrow: tl.constexpr):
    """Image, row and column of ``tile_pixels`` neighbours; pixels count through rows, then images.

    Args:
        tile: int32, which of all tiles.
        area, width: of one image.
        narrow: whether an area and a tile fit int32 together, whose division takes a quarter of the time.
    """
    start = tile.to(tl.int64) * tile_pixels
    first_image = start // area
    first = start - first_image * area
    if narrow:
        first = first.to(tl.int32)
    pixel = first + tl.arange(0, tile_pixels)
    image = first_image + pixel // area
    pixel = pixel % area
    return image, (pixel // width).to(tl.int64), (pixel % width).to(tl.int64)


@triton.jit
def inside(y, x, height, width):
    """Whether a position lies in the image and not in its padding."""
    return (y >= 0) & (y < height) & (x >= 0) & (x < width)
