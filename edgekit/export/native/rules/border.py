"""Where floats become bytes and bytes floats: on the way, images change between channels first and channels last."""

from __future__ import annotations

from typing import Any

from torch import fx

from edgekit.export.native import words
from edgekit.export.native.build import Builder, last_order
from edgekit.export.native.view import View
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
    x, last = builder.ordered(builder.view(parts["x"])), builder.is_last(node)
    out = builder.home(node, builder.order(node)).at(scale_of(builder, parts["scale"]))
    order = last_order(len(x.sizes))
    written = out.permuted(order) if last else out
    builder.emit(words.Quantize(int(last), parts["lo"], parts["hi"]), [x], written)
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
