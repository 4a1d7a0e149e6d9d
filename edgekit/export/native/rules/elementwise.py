"""Sums, products, choices and functions of single values."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgekit.export.native import words
from edgekit.export.native.attributes import Attributes
from edgekit.export.native.build import Builder
from edgekit.export.native.view import Element, View, merged
from edgekit.graph import edit

aten, s8 = torch.ops.aten, torch.ops.edgekit


def not_bytes(builder: Builder, node: fx.Node) -> str:
    """Why a call cannot be written, or an empty string."""
    return "" if builder.fixed.values[node].dtype is torch.int8 else "it is one of floats"


def add(builder: Builder, node: fx.Node) -> View:
    """``add_s8``."""
    parts = edit.arguments(node)
    attributes = words.Add(parts["ratio_a"], parts["ratio_b"], parts["lo"], parts["hi"])
    return _pair(builder, node, attributes, parts["a"], parts["b"])


def _pair(builder: Builder, node: fx.Node, attributes: Attributes, *arguments: Any) -> View:
    operands = [builder.view(argument) for argument in arguments]
    out = builder.home(node, _order(builder, node, operands))
    builder.elementwise(attributes, operands, out)
    return out


def _order(builder: Builder, node: fx.Node, operands: list[View]) -> tuple[int, ...]:
    """That of the operands that have the size of the result; where they differ, that in which it should lie."""
    sizes = builder.fixed.sizes(node)
    orders = [view.order for view in operands if view.sizes == sizes]
    wanted = builder.order(node)
    return wanted if not orders or wanted in orders else orders[0]


def multiply(builder: Builder, node: fx.Node) -> View:
    """``mul_s8``."""
    parts = edit.arguments(node)
    return _pair(builder, node, words.Mul(parts["multiplier"], parts["lo"], parts["hi"]), parts["a"], parts["b"])


def choose(builder: Builder, node: fx.Node) -> View:
    """The larger or the lesser of each two bytes."""
    parts = edit.arguments(node)
    least = int(node.target is aten.minimum.default)
    return _pair(builder, node, words.Choose(least), parts["self"], parts["other"])


def table(builder: Builder, node: fx.Node) -> View:
    """``lut_s8``, with one table or one for each index of a dimension."""
    parts = edit.arguments(node)
    x, tables = builder.view(parts["x"]), builder.view(parts["table"])
    out = builder.home(node, _order(builder, node, [x]))
    emit_table(builder, x, tables, out, parts["axis"])
    return out


def emit_table(builder: Builder, x: View, tables: View, out: View, axis: int | None) -> None:
    """Look bytes up in one table, or in one for each index of a dimension."""
    assert tables.element is Element.S8
    if axis is None:
        builder.elementwise(words.Lut(-1), [x], out, [tables])
    else:
        _by_axis(builder, x, tables, out, axis % len(x.sizes))


def _by_axis(builder: Builder, x: View, tables: View, out: View, axis: int) -> None:
    order = out.order
    x = x if x.order == order else builder.ordered(x, order)
    at = order.index(axis)
    outer, inner = order[:at], order[at + 1 :]
    halves = [merged([x, out], part) if part else None for part in (outer, inner)]
    ready = [_around(view, axis, [half[i] if half else None for half in halves]) for i, view in enumerate((x, out))]
    builder.emit(words.Lut(len(halves[0][0].sizes) if halves[0] else 0), [ready[0], tables], ready[1])


def _around(view: View, axis: int, halves: list[View | None]) -> View:
    """A view with its merged outer dimensions, the one of the tables, and its merged inner ones."""
    before, after = ((half.sizes, half.steps) if half else ((), ()) for half in halves)
    sizes, steps = (*before[0], view.sizes[axis], *after[0]), (*before[1], view.steps[axis], *after[1])
    return View(view.buffer, view.element, sizes, steps, view.first, view.scale)
