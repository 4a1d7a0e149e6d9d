"""Convolutions and maxima over volumes, as those over images: the depth of the kernel becomes channels.

A window that is as deep as the kernel has ``C * depth`` channels, and the sums of products are the same integers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from edgekit.fuse.work import Work
from edgekit.graph import edit
from edgekit.graph.patterns import Cell

aten, s8 = torch.ops.aten, torch.ops.edgekit


def convolution(work: Work, cell: Cell, stored: tuple[fx.Node, ...], weight: Tensor) -> fx.Node:
    """conv3d on int8 [N, C, D, H, W]; ``weight`` [O, C / groups, d, h, w] is what ``stored`` holds flat."""
    parts, x = edit.arguments(cell.body), work.value(edit.input_node(cell.body))
    stride, padding, dilation = (triple(parts[name]) for name in ("stride", "padding", "dilation"))
    if padding[0]:
        x = work.step(aten.constant_pad_nd.default, x, [0, 0, 0, 0, padding[0], padding[0]])
    before, after = work.source.shape(edit.input_node(cell.body)), work.source.shape(cell.body)
    last = (after[2] - 1) * stride[0] + 1
    starts = [index * dilation[0] for index in range(weight.shape[2])]
    slices = [work.step(aten.slice.Tensor, x, 2, start, start + last, stride[0]) for start in starts]
    windows = work.step(aten.permute.default, work.step(aten.stack.default, slices, 2), [0, 3, 1, 2, 4, 5])
    images = work.step(aten.reshape.default, windows, [-1, before[1] * len(starts), *before[3:]])
    geometry = (stride[1:], padding[1:], dilation[1:], parts["groups"], *work.bounds(cell))
    flat = work.step(s8.conv2d_s8.default, images, *stored, *geometry)
    volumes = work.step(aten.reshape.default, flat, [-1, after[2], after[1], *after[3:]])
    return work.call(cell, aten.permute.default, volumes, [0, 2, 1, 3, 4])


def maximum(work: Work, cell: Cell) -> fx.Node:
    """max_pool3d on int8 [N, C, D, H, W]: over height and width, then over depth."""
    parts, x = edit.arguments(cell.body), work.value(edit.input_node(cell.body))
    kernel = triple(parts["kernel_size"])
    stride = triple(parts["stride"]) if parts["stride"] else kernel
    depth, height, width = zip(kernel, stride, triple(parts["padding"]), triple(parts["dilation"]), strict=True)
    before, after = work.source.shape(edit.input_node(cell.body)), work.source.shape(cell.body)

    def pool(image: fx.Node, rows: tuple[int, ...], columns: tuple[int, ...]) -> fx.Node:
        geometry = map(list, zip(rows, columns, strict=True))
        return work.step(s8.max_pool_s8.default, image, *geometry, parts["ceil_mode"])

    images = work.step(aten.reshape.default, x, [-1, before[1] * before[2], *before[3:]])
    lines = work.step(aten.reshape.default, pool(images, height, width), [-1, *before[1:3], after[3] * after[4]])
    return work.call(cell, aten.reshape.default, pool(lines, depth, (1, 1, 0, 1)), [-1, *after[1:]])


def triple(value: Any) -> list[int]:
    """A number for depth, height and width."""
    values = [value] if isinstance(value, int) else list(value)
    return values * 3 if len(values) == 1 else values
