"""Windows over images, and sums and extremes over whole dimensions."""

from __future__ import annotations

import math

import torch
from torch import fx

from edgekit.export.native import words
from edgekit.export.native.attributes import Attributes
from edgekit.export.native.build import Builder, last_order, rows_last
from edgekit.export.native.view import View
from edgekit.graph import edit

aten = torch.ops.aten


def average(builder: Builder, node: fx.Node) -> View:
    """``avg_pool_s8``."""
    parts = builder.fixed.argument(edit.arguments(node))
    include = int(parts["count_include_pad"])
    window = (*parts["kernel"], *parts["stride"], *parts["padding"], include, parts["lo"], parts["hi"])
    attributes = words.AvgPool(*window)
    return _pool(builder, node, attributes, [builder.constant(parts["multiplier"])])


def largest(builder: Builder, node: fx.Node) -> View:
    """``max_pool_s8``."""
    parts = builder.fixed.argument(edit.arguments(node))
    attributes = words.MaxPool(*parts["kernel"], *parts["stride"], *parts["padding"], *parts["dilation"])
    return _pool(builder, node, attributes, [])


def _pool(builder: Builder, node: fx.Node, attributes: Attributes, constants: list[View]) -> View:
    x = builder.view(edit.operand(node, 0))
    if x.sizes[1] != 1 and x.steps[1] != 1:
        x = builder.ordered(x, last_order(4))
    out = builder.home(node, last_order(4))
    builder.emit(attributes, [rows_last(x), *constants], rows_last(out))
    return out


def total(builder: Builder, node: fx.Node) -> View:
    """``sum_s8``, the multiplier as its reference computes it."""
    parts = edit.arguments(node)
    x, out = builder.view(parts["x"]), builder.fresh(builder.fixed.sizes(node), builder.view(parts["x"]).element)
    axes = [d % len(x.sizes) for d in builder.fixed.argument(parts["dim"])]
    n = float(math.prod(x.sizes[d] for d in axes)) if parts["mean"] else 1.0
    sx, sy = torch.tensor([parts["input_scale"], parts["output_scale"]], dtype=torch.float32)
    attributes = words.Sum(_bits(axes), float(sx / (n * sy)), parts["lo"], parts["hi"])
    builder.emit(attributes, [x], out)
    return out


def extremum(builder: Builder, node: fx.Node) -> View:
    """The largest or least bytes over dimensions."""
    parts = edit.arguments(node)
    x, out = builder.view(parts["self"]), builder.fresh(builder.fixed.sizes(node), builder.view(parts["self"]).element)
    axes = [d % len(x.sizes) for d in builder.fixed.argument(parts["dim"])] or list(range(len(x.sizes)))
    builder.emit(words.Extremum(_bits(axes), int(node.target is aten.amin.default)), [x], out)
    return out


def _bits(axes: list[int]) -> int:
    return sum(1 << axis for axis in axes)
