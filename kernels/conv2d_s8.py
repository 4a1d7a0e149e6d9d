"""``out[n, o, i, j] = sat8(rne(float32(sum x * weight[o] + bias[o]) * multiplier[o]))``: 2-D convolution, int8 to int8.

A product of matrices that are never made: rows are pixels of the result, columns are filters, and the reduction walks
the taps of the window and the channels under each. All tensors are read and written by strides; with channels in the
innermost place (torch's ``channels_last``) every load is of neighbours. Depthwise layers have a kernel of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels import depthwise, tiles
from edgekit.kernels.epilogue import NOTHING, Epilogue, finish
from edgekit.kernels.launch import Capability, Launch, capability_of, run
from edgekit.kernels.pixels import Pair, geometry, inside, pixels_at, steps_of
from edgekit.kernels.requant import requantize
from edgekit.kernels.tiles import Config, tile_at

__all__ = ["Config", "Epilogue", "conv2d_s8", "heuristic", "plan"]

_LEAST_DEPTH = 32  # that one int8 instruction of the tensor cores takes; with fewer channels a step takes several taps


def heuristic(
    pixels: int,
    channels: int,
    filters: int,
    groups: int,
    capability: Capability,
    scattered: bool = False,
    plain: bool = True,
) -> Config:
    """The largest tile that fills the device; a step that divides the channels where one does.

    Args:
        pixels: of the result, in all images.
        channels, filters: of one group.
        groups: of channels.
        capability: of the device, (8, 7) for Orin.
        scattered: whether neighbours in a step are none in memory: each byte then has an address in a register.
        plain: whether nothing follows.
    """
    if scattered:
        config = tiles.choose(pixels, filters, _LEAST_DEPTH, capability, batch=groups)
        return replace(config, rows=min(config.rows, 64), columns=64, warps=8, stages=2)
    depth = tiles.step(channels, capability)
    while channels % depth and depth > _LEAST_DEPTH:
        depth //= 2
    return tiles.choose(pixels, filters, depth, capability, batch=groups, widest=256 if plain else 128)


@triton.jit
def conv2d_s8_kernel(
    x,  # int8, images
    weight,  # int8, filters
    bias,  # int32 [groups * filters]
    multiplier,  # float32 [groups * filters]
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
    channels,  # of one group, as filters
    filters,
    taps,
    weight_group,  # from one group to the next, as all below
    weight_filter,
    weight_channel,
    weight_row,
    weight_column,
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
    flat: tl.constexpr,  # a step takes neighbours of (tap, channel); else channels of one tap
    even_depth: tl.constexpr,  # no step hangs over
    tile_pixels: tl.constexpr,
    tile_filters: tl.constexpr,
    tile_depth: tl.constexpr,
    group: tl.constexpr,
):
    """One program computes one tile of pixels and filters of one group."""
    pixel_tile, filter_tile = tile_at(
        tl.program_id(0), tl.cdiv(pixels, tile_pixels), tl.cdiv(filters, tile_filters), group
    )
    image, row, column = pixels_at(pixel_tile, tile_pixels, area, out_width, narrow)
    pixel_mask = (pixel_tile.to(tl.int64) * tile_pixels + tl.arange(0, tile_pixels) < pixels)[:, None]
    own = filter_tile.to(tl.int64) * tile_filters + tl.arange(0, tile_filters)[None, :]
    filter_mask = own < filters
    conv_group = tl.program_id(1).to(tl.int64)
    filter_ = conv_group * filters + own
    top, left = (row * stride_y - padding_y)[:, None], (column * stride_x - padding_x)[:, None]
    corner = x + (image[:, None] * x_image + conv_group * channels * x_channel + top * x_row + left * x_column)
    weights = weight + conv_group * weight_group + own * weight_filter
    steps = tl.cdiv(channels, tile_depth)
    accumulator = tl.zeros((tile_pixels, tile_filters), dtype=tl.int32)
    for step in range(tl.cdiv(taps * channels, tile_depth) if flat else taps * steps):
        depth = tl.arange(0, tile_depth)
        if flat:
            place = step * tile_depth + depth
            tap, channel = (place // channels).to(tl.int64), (place % channels).to(tl.int64)
            depth_mask = place < taps * channels
        else:
            tap = (step // steps + tl.zeros_like(depth)).to(tl.int64)
            channel = (step % steps * tile_depth + depth).to(tl.int64)
            depth_mask = channel < channels
        x_mask, weight_mask = pixel_mask, filter_mask
        if not even_depth:
            x_mask, weight_mask = x_mask & depth_mask[None, :], weight_mask & depth_mask[:, None]
        tap_row, tap_column = tap // kernel_width, tap % kernel_width
        down, right = tap_row * dilation_y, tap_column * dilation_x
        if padded:
            x_mask = x_mask & inside(top + down[None, :], left + right[None, :], in_height, in_width)
        offset = down * x_row + right * x_column + channel * x_channel
        x_tile = tl.load(corner + offset[None, :], mask=x_mask, other=0)
        offset = tap_row * weight_row + tap_column * weight_column + channel * weight_channel
        weight_tile = tl.load(weights + offset[:, None], mask=weight_mask, other=0)
        accumulator = tl.dot(x_tile, weight_tile, accumulator, out_dtype=tl.int32)
    accumulator += tl.load(bias + filter_, mask=filter_mask, other=0)
    y = requantize(accumulator, tl.load(multiplier + filter_, mask=filter_mask, other=0.0), lo, hi)
    mask = pixel_mask & filter_mask
    image, row, column = image[:, None], row[:, None], column[:, None]
    offset = image * residual_image + filter_ * residual_channel + row * residual_row + column * residual_column
    y = finish(
        y,
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
    offset = image * out_image + filter_ * out_channel + row * out_row + column * out_column
    tl.store(out + offset, y, mask=mask)


def plan(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    lo: int = -128,
    hi: int = 127,
    *after: Any,
    out: Tensor,
    config: Config | depthwise.Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`conv2d_s8`, the weight dense in either layout.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    if not out.numel():
        return ()
    filters, channels, height, width = weight.shape
    epilogue = Epilogue(*after)
    tensors = {"x": x, "weight": weight, "bias": bias, "multiplier": multiplier, "out": out}
    places = geometry(x, out, stride, padding, dilation)
    if channels == 1 and groups > 1 and not isinstance(config, Config):
        own = {"filters": filters, "filters_each": filters // groups, "kernel_height": height}
        finishing, constants = _finishing(out, lo, hi, epilogue), _window(width, places, any(padding), epilogue)
        return (depthwise.launch({**tensors, **places, **own, **finishing}, constants, x.stride(1) == 1, config),)
    steps = weight.stride()
    walk = Filters(height, width, channels, filters // groups, filters // groups * steps[0], *steps)
    general = config if isinstance(config, Config) else None
    return (launch(tensors, places, walk, groups, lo, hi, any(padding), epilogue, general, capability),)


class Filters(NamedTuple):
    """The filters of one group, and how to walk them.

    Attributes:
        height, width: of the window.
        channels, filters: their number.
        group_step, filter_step, channel_step, row_step, column_step: from one to the next.
    """

    height: int
    width: int
    channels: int
    filters: int
    group_step: int
    filter_step: int
    channel_step: int
    row_step: int
    column_step: int


def launch(
    tensors: Mapping[str, Tensor],
    places: Mapping[str, int],
    walk: Filters,
    groups: int,
    lo: int,
    hi: int,
    padded: bool,
    epilogue: Epilogue = NOTHING,
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> Launch:
    """One launch of :func:`conv2d_s8_kernel`.

    Args:
        tensors: x, weight, bias, multiplier, out.
        places: of :func:`geometry`.
        walk: the filters.
        groups: their number.
        lo, hi: bounds of the result.
        padded: whether a window may reach out of the image.
        epilogue: what follows.
        config: the heuristic's where it is not given.
        capability: of the device that will run it.
    """
    x, out, taps = tensors["x"], tensors["out"], walk.height * walk.width
    if config is None:
        scattered = x.stride(1) != 1 or walk.channels < _LEAST_DEPTH
        config = heuristic(places["pixels"], walk.channels, walk.filters, groups, capability, scattered, epilogue.empty)
    own = {
        "channels": walk.channels,
        "filters": walk.filters,
        "taps": taps,
        "weight_group": walk.group_step,
        "weight_filter": walk.filter_step,
        "weight_channel": walk.channel_step,
        "weight_row": walk.row_step,
        "weight_column": walk.column_step,
    }
    constants = {**_window(walk.width, places, padded, epilogue), **_tile(config, walk.channels, taps)}
    grid = (triton.cdiv(places["pixels"], config.rows) * triton.cdiv(walk.filters, config.columns), groups)
    arguments = {**tensors, **places, **own, **_finishing(out, lo, hi, epilogue)}
    return Launch(conv2d_s8_kernel, arguments, constants, grid, config.warps, config.stages)


def _finishing(out: Tensor, lo: int, hi: int, epilogue: Epilogue) -> dict[str, Tensor | int | float]:
    added = out if epilogue.residual is None else epilogue.residual
    return {"lo": float(lo), "hi": float(hi), **steps_of("residual", added), **epilogue.arguments(out)}


def _window(width: int, places: Mapping[str, int], padded: bool, epilogue: Epilogue) -> dict[str, int | bool]:
    """Constants of depthwise layers, too."""
    return {
        **epilogue.constants(),
        "kernel_width": max(width, 1),
        "padded": padded,
        "narrow": places["area"] < 2**30,
    }


def _tile(config: Config, channels: int, taps: int) -> dict[str, int | bool]:
    flat = channels < config.depth
    return {
        "flat": flat,
        "even_depth": (channels * taps if flat else channels) % config.depth == 0,
        "tile_pixels": config.rows,
        "tile_filters": config.columns,
        "tile_depth": config.depth,
        "group": config.group,
    }


def conv2d_s8(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    lo: int = -128,
    hi: int = 127,
    *after: Any,
    out: Tensor | None = None,
    config: Config | depthwise.Config | None = None,
) -> Tensor:
    """Launch the kernel; arguments as of ``torch.ops.edgekit.conv2d_s8``.

    Args:
        x: int8 [N, I, H, W], of any strides; fast with channels innermost (``torch.channels_last``).
        weight: int8 [O, I / groups, kh, kw], a fan-in of at most 131,071; copied unless it is ``torch.channels_last``.
        bias: int32 [O].
        multiplier: float32 [O].
        stride, padding, dilation: of height and width.
        groups: divides I and O; I for depthwise.
        lo, hi: bounds of the result.
        after: what follows, an :class:`Epilogue`, its residual of any strides.
        out: int8 [N, O, rows, columns], of any strides; allocated with those of ``x`` where it is not given.
        config: launch configuration; the heuristic's where it is not given. A :class:`Config` chooses the general
            kernel for a depthwise layer too.
    """
    out = _allocate(x, weight, stride, padding, dilation) if out is None else out
    weight = weight.contiguous(memory_format=torch.channels_last)
    launches = plan(
        x,
        weight,
        bias.contiguous(),
        multiplier.contiguous(),
        stride,
        padding,
        dilation,
        groups,
        lo,
        hi,
        *after,
        out=out,
        config=config,
        capability=capability_of(x),
    )
    run(launches)
    return out


def _allocate(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    sizes = [
        (size + 2 * pad - spread * (taps - 1) - 1) // step + 1
        for size, taps, step, pad, spread in zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    ]
    channels_last = x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty((x.shape[0], weight.shape[0], *sizes), dtype=x.dtype, device=x.device, memory_format=layout)
