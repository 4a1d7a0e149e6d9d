"""``mean`` for global pools, ``avg_pool2d`` and ``max_pool2d`` for adaptive ones whose windows are all alike."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from edgekit.graph import edit
from edgekit.graph.canonical.rule import Rule, become, calls_of
from edgekit.graph.graph import Graph

aten = torch.ops.aten
_ONE_OR_THREE = (aten.adaptive_avg_pool1d.default, aten.adaptive_avg_pool3d.default)


def _is_global_pool(node: fx.Node) -> bool:
    if node.target is aten.adaptive_avg_pool2d.default:
        return list(edit.arguments(node)["output_size"]) == [1, 1]
    return node.target is aten.mean.dim


def _not_spatial_mean(node: fx.Node) -> str:
    rank = edit.input_node(node).meta["val"].dim()
    if rank != 4:
        return "the input is not an image"
    if node.target is aten.mean.dim:
        parts = edit.arguments(node)
        if sorted(d % rank for d in parts["dim"] or []) != [2, 3]:
            return "the mean is not over height and width"
        if parts["dtype"] is not None:
            return "the mean changes the type"
    return ""


def _to_mean(_: Graph, node: fx.Node) -> None:
    keep = node.target is not aten.mean.dim or edit.arguments(node)["keepdim"]
    become(node, aten.mean.dim, node.args[0], [2, 3], True)
    if not keep:
        flat = edit.call_after(node, aten.flatten.using_ints, (node, 1))
        edit.replace_uses(node, flat)


def _uneven(node: fx.Node) -> str:
    wanted = edit.arguments(node)["output_size"]
    sizes = list(edit.input_node(node).meta["val"].shape[-len(wanted) :])
    if not all(isinstance(size, int) for size in sizes):
        return "the size of what it sees is dynamic"
    if any(size % out for size, out in zip(sizes, wanted, strict=True)):
        return "its windows differ in size"
    return ""


def _window(node: fx.Node) -> list[int]:
    wanted = edit.arguments(node)["output_size"]
    sizes = edit.input_node(node).meta["val"].shape[-len(wanted) :]
    return [size // out for size, out in zip(sizes, wanted, strict=True)]


def _to_windows(_: Graph, node: fx.Node) -> None:
    window = _window(node)
    become(node, aten.avg_pool2d.default, node.args[0], window, window)


def _is_adaptive_maximum(node: fx.Node) -> bool:
    return edit.is_call(node, operator.getitem) and node.args[1:] == (0,) and edit.is_call(node.args[0], *_MAXIMA)


def _uneven_maximum(node: fx.Node) -> str:
    return _uneven(edit.input_node(node))


def _to_maximum(_: Graph, node: fx.Node) -> None:
    pool = edit.input_node(node)
    window = _window(pool)
    become(node, _MAXIMA[pool.target], pool.args[0], window, window)


_MAXIMA: dict[Any, Any] = {
    aten.adaptive_max_pool1d.default: aten.max_pool1d.default,
    aten.adaptive_max_pool2d.default: aten.max_pool2d.default,
}


def _not_global(node: fx.Node) -> str:
    wanted = list(edit.arguments(node)["output_size"])
    if set(wanted) != {1}:
        return "it keeps more than one value"
    return "" if edit.input_node(node).meta["val"].dim() == 2 + len(wanted) else "the input has no batch"


def _to_mean_of_all(_: Graph, node: fx.Node) -> None:
    axes = range(2, edit.input_node(node).meta["val"].dim())
    become(node, aten.mean.dim, node.args[0], list(axes), True)


RULES = (
    Rule("global pool as mean", _is_global_pool, _not_spatial_mean, _to_mean, reshapes=True),
    Rule("even pool as windows", calls_of(aten.adaptive_avg_pool2d.default), _uneven, _to_windows),
    Rule("even maxima as windows", _is_adaptive_maximum, _uneven_maximum, _to_maximum),
    Rule("pool of time or volume as mean", calls_of(*_ONE_OR_THREE), _not_global, _to_mean_of_all),
)
