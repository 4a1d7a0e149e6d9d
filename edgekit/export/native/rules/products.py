"""Layers with weights and products of activations; a sum behind a layer becomes part of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import fx

from edgekit.export.native import words
from edgekit.export.native.build import Builder, last_order, rows_last
from edgekit.export.native.layout import NOTHING, PAD, conv_read
from edgekit.export.native.transposed import margins_of, parts_of
from edgekit.export.native.view import Margins, View
from edgekit.graph import edit

aten = torch.ops.aten


def convolution(builder: Builder, node: fx.Node) -> View:
    """``conv2d_s8``."""
    return _with_table(builder, node, last_order(4), _convolution)


def _convolution(builder: Builder, node: fx.Node, out: View) -> None:
    parts = builder.fixed.argument(edit.arguments(node))
    x, pads = _image(builder, node)
    weight = builder.constant(parts["weight"].permute(0, 2, 3, 1))
    vectors = [builder.constant(parts[name]) for name in ("bias", "multiplier")]
    geometry = (*parts["stride"], *pads, *parts["dilation"], parts["groups"], parts["lo"], parts["hi"])
    residual, added = _residual(builder, node)
    if residual is not None and (residual.repeats or not _channels_together(residual)):
        residual = builder.ordered(residual, last_order(4))
    operands = [rows_last(x), weight, *vectors, *([] if residual is None else [rows_last(residual)])]
    builder.emit(words.Conv2d(*geometry, **added), operands, rows_last(out))


def _with_table(
    builder: Builder, node: fx.Node, order: tuple[int, ...] | None, product: Callable[[Builder, fx.Node, View], None]
) -> View:
    """Where the result of a product lies; the table that may follow it is looked up in place."""
    out, table = builder.home(node, order), edit.arguments(node)["table"]
    if table is None:
        product(builder, node, out)
        return out
    before = builder.fresh(out.sizes, out.element, out.order, NOTHING)
    product(builder, node, before)
    builder.elementwise(words.Lut(-1), [before], out, [builder.view(table)])
    return out


def _residual(builder: Builder, node: fx.Node) -> tuple[View | None, dict[str, Any]]:
    """What a product adds, and the attributes that say how."""
    parts = edit.arguments(node)
    if parts["residual"] is None:
        return None, {}
    names = ("residual_first", "ratio", "residual_ratio", "sum_lo", "sum_hi")
    return builder.view(parts["residual"]), {name: parts[name] for name in names}


def _image(builder: Builder, node: fx.Node) -> tuple[View, Margins]:
    """What a convolution reads, channels side by side, and its padding; the padding in memory where it fits."""
    read = conv_read(builder.fixed, node)
    sizes = builder.fixed.sizes(edit.operand(node, 0))
    if read.source.target is PAD:
        inner = builder.view(edit.input_node(read.source))
        x = _as_image(inner, (*sizes[:2], *((1, inner.sizes[2]) if len(inner.sizes) == 3 else inner.sizes[2:])))
    else:
        x = builder.view(read.source)
    return _with_halo(builder, x, read.pads), read.pads


def _with_halo(builder: Builder, x: View, pads: Margins) -> View:
    """An image with its channels side by side and zeros around it: where it lies, or a copy."""
    if _channels_together(x) and (not any(pads) or _has_halo(builder, x, pads)):
        return x
    return builder.ordered(x, last_order(4), pads)


def _as_image(view: View, sizes: tuple[int, ...]) -> View:
    found = view if view.sizes == sizes else view.reshaped(sizes)
    assert found is not None, "a size of 1 goes into every view"
    return found


def _channels_together(x: View) -> bool:
    return x.sizes[1] == 1 or x.steps[1] == 1


def _has_halo(builder: Builder, x: View, pads: Margins) -> bool:
    """Whether the zeros around the image that x is, or is some channels of, are as wide as the padding."""
    image = builder.images.get(x.buffer)
    if image is None or x.sizes[2:] != image.sizes[2:]:
        return False
    wide_enough = all(have >= want for have, want in zip(x.buffer.margins, pads, strict=True))
    channels = range(image.sizes[1] - x.sizes[1] + 1)
    same_steps = all(a == b or n == 1 for a, b, n in zip(x.steps[2:], image.steps[2:], x.sizes[2:], strict=True))
    rows = x.sizes[2] > 1 or not (pads[0] or pads[2]) or x.steps[2] == image.steps[2]
    columns = x.sizes[3] > 1 or not (pads[1] or pads[3]) or x.steps[3] == image.steps[3]
    return wide_enough and x.first - image.first in channels and same_steps and rows and columns


def linear(builder: Builder, node: fx.Node) -> View:
    """``linear_s8``."""
    return _with_table(builder, node, None, _linear)


def _linear(builder: Builder, node: fx.Node, out: View) -> None:
    parts = builder.fixed.argument(edit.arguments(node))
    constants = [builder.constant(parts[name]) for name in ("weight", "bias", "multiplier")]
    x = as_rows(builder.ordered(builder.view(edit.operand(node, 0))))
    residual, added = _residual(builder, node)
    operands = [x, *constants, *([] if residual is None else [as_rows(builder.ordered(residual))])]
    builder.emit(words.Linear(parts["lo"], parts["hi"], **added), operands, as_rows(out))


def as_rows(view: View, dims: int = 1) -> View:
    """A tensor without gaps as rows of its last dimensions."""
    columns = math.prod(view.sizes[len(view.sizes) - dims :])
    found = view.reshaped((view.count // max(columns, 1), columns))
    assert found is not None
    return found


def transposed(builder: Builder, node: fx.Node) -> View:
    """``conv_transpose2d_s8``: as plain convolutions, where it can be."""
    arguments = builder.fixed.argument(edit.arguments(node))
    vectors = [builder.constant(arguments[name]) for name in ("bias", "multiplier")]
    common: list[int] = [arguments[name] for name in ("groups", "lo", "hi")]
    parts, out = parts_of(builder.fixed, node), builder.home(node, last_order(4))
    x = _with_halo(builder, builder.view(edit.operand(node, 0)), margins_of(parts))
    for part in parts:
        weight = builder.constant(part.filters(arguments["weight"], arguments["groups"]))
        geometry = (1, 1, *part.pads, *part.dilation, *common)
        builder.emit(words.Conv2d(*geometry), [rows_last(x), weight, *vectors], rows_last(part.view(out)))
    if not parts:
        weight = builder.constant(arguments["weight"])
        geometry = (*arguments["stride"], *arguments["padding"], *arguments["dilation"], *common)
        builder.emit(words.ConvTranspose2d(*geometry), [rows_last(x), weight, *vectors], rows_last(out))
    return out


def matmul(builder: Builder, node: fx.Node) -> View:
    """``matmul_s8`` of two tensors with equally many dimensions."""
    parts = edit.arguments(node)
    operands = [builder.ordered(builder.view(parts[name])) for name in ("a", "b")]
    rank = max(len(operand.sizes) for operand in operands)
    out = builder.home(node)
    ready = [_padded(operand, rank) for operand in operands]
    builder.emit(words.Matmul(parts["multiplier"], parts["lo"], parts["hi"]), ready, out)
    return out


def _padded(view: View, rank: int) -> View:
    missing = rank - len(view.sizes)
    return replace(view, sizes=(1,) * missing + view.sizes, steps=(view.count,) * missing + view.steps)
