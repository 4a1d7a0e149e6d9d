"""Where floats become bytes and bytes floats: on the way, images change between channels first and channels last."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import fx

from edgekit.export.native import byte_front, words
from edgekit.export.native.build import Builder, last_order
from edgekit.export.native.byte_front import ByteFront
from edgekit.export.native.rules.elementwise import emit_table
from edgekit.export.native.view import Element, View
from edgekit.graph import edit


def per_channel(_: Builder, node: fx.Node) -> str:
    """Why a call cannot be written, or an empty string."""
    return "it has a scale for each channel" if edit.arguments(node)["axis"] is not None else ""


def scale_of(builder: Builder, argument: Any) -> float:
    """A scale that is stored with the graph."""
    return float(builder.fixed.argument(argument))


def quantize(builder: Builder, node: fx.Node) -> View:
    """``quantize_s8``."""
    parts = edit.arguments(node)
    if node in builder.layout.fronts:
        return _looked_up(builder, node, builder.layout.fronts[node])
    x, last = builder.ordered(builder.view(parts["x"])), builder.is_last(node)
    out = builder.home(node, builder.order(node)).at(scale_of(builder, parts["scale"]))
    order = last_order(len(x.sizes))
    written = out.permuted(order) if last else out
    builder.emit(words.Quantize(int(last), parts["lo"], parts["hi"]), [x], written)
    return out


def _looked_up(builder: Builder, node: fx.Node, front: ByteFront) -> View:
    """An input of bytes, whose preprocessing is a table."""
    x = replace(builder.view(front.image), element=Element.S8)
    out = builder.home(node, builder.order(node)).at(scale_of(builder, edit.arguments(node)["scale"]))
    emit_table(builder, x, builder.constant(byte_front.table(builder.fixed, front)), out, front.axis)
    return out


def dequantize(builder: Builder, node: fx.Node) -> View:
    """``dequantize``, to floats in torch's order."""
    parts = edit.arguments(node)
    x = builder.view(parts["x"]).at(scale_of(builder, parts["scale"]))
    out = builder.home(node)
    rank = len(x.sizes)
    if not x.is_dense and rank in (3, 4) and x.is_dense_in(last_order(rank)):
        builder.emit(words.Dequantize(1), [x.permuted(last_order(rank))], out)
    else:
        builder.emit(words.Dequantize(0), [builder.ordered(x)], out)
    return out
