"""Softmax and the norms: a row at a time, in torch's order without gaps."""

from __future__ import annotations

from typing import Any

from torch import fx

from edgekit.export.native import words
from edgekit.export.native.attributes import Attributes
from edgekit.export.native.build import Builder
from edgekit.export.native.rules.products import as_rows
from edgekit.export.native.view import View
from edgekit.graph import edit


def softmax(builder: Builder, node: fx.Node) -> View:
    """``softmax_s8``."""
    parts = edit.arguments(node)
    x, out = builder.ordered(builder.view(parts["x"])), builder.home(node)
    mask = None if parts["mask"] is None else builder.view(parts["mask"]).expanded(x.sizes)
    attributes = words.Softmax(parts["output_scale"])
    if mask is None:
        builder.emit(attributes, [as_rows(x), builder.view(parts["table"])], as_rows(out))
    else:
        builder.emit(attributes, [x, builder.view(parts["table"]), mask], out)
    return out


def layer_norm(builder: Builder, node: fx.Node) -> View:
    """``layer_norm_s8``."""
    parts = edit.arguments(node)
    return _norm(builder, node, words.LayerNorm(parts["scale"], parts["eps"]), parts["gain"], parts["offset"])


def rms_norm(builder: Builder, node: fx.Node) -> View:
    """``rms_norm_s8``."""
    parts = edit.arguments(node)
    return _norm(builder, node, words.RmsNorm(parts["scale"], parts["eps"]), parts["gain"])


def l2_norm(builder: Builder, node: fx.Node) -> View:
    """``l2_norm_s8``."""
    parts = edit.arguments(node)
    return _norm(builder, node, words.L2Norm(parts["scale"], parts["output_scale"], parts["eps"]))


def _norm(builder: Builder, node: fx.Node, attributes: Attributes, *vectors: Any) -> View:
    constants = [builder.view(vector) for vector in vectors]
    dims = len(constants[0].sizes) if constants else 1
    x, out = builder.ordered(builder.view(edit.operand(node, 0))), builder.home(node)
    flat = [as_rows(constant, dims).reshaped((constant.count,)) for constant in constants]
    builder.emit(attributes, [as_rows(x, dims), *flat], as_rows(out, dims))
    return out


def group_norm(builder: Builder, node: fx.Node) -> View:
    """``group_norm_s8``."""
    parts = edit.arguments(node)
    x, out = builder.ordered(builder.view(parts["x"])), builder.home(node)
    sizes = (*x.sizes[:2], x.count // max(x.sizes[0] * x.sizes[1], 1))
    vectors = [builder.view(parts[name]) for name in ("gain", "offset")]
    attributes = words.GroupNorm(parts["scale"], parts["eps"], parts["groups"])
    builder.emit(attributes, [_as(x, sizes), *vectors], _as(out, sizes))
    return out


def _as(view: View, sizes: tuple[int, ...]) -> View:
    found = view.reshaped(sizes)
    assert found is not None
    return found
