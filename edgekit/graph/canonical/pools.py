"""``mean`` for global pools, ``avg_pool2d`` for adaptive ones whose windows are all alike."""

from __future__ import annotations

import torch
from torch import fx

from edgekit.graph import edit
from edgekit.graph.canonical.rule import Rule, become, calls_of
from edgekit.graph.graph import Graph

aten = torch.ops.aten


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
    image, wanted = edit.input_node(node).meta["val"], edit.arguments(node)["output_size"]
    sizes = list(image.shape[-2:])
    if not all(isinstance(size, int) for size in sizes):
        return "height or width is dynamic"
    if any(size % out for size, out in zip(sizes, wanted, strict=True)):
        return "its windows differ in size"
    return ""


def _to_windows(_: Graph, node: fx.Node) -> None:
    sizes, wanted = edit.input_node(node).meta["val"].shape[-2:], edit.arguments(node)["output_size"]
    window = [size // out for size, out in zip(sizes, wanted, strict=True)]
    become(node, aten.avg_pool2d.default, node.args[0], window, window)


def _not_a_sequence(node: fx.Node) -> str:
    if list(edit.arguments(node)["output_size"]) != [1]:
        return "it keeps more than one value"
    return "" if edit.input_node(node).meta["val"].dim() == 3 else "the input has no batch"


def _to_mean_of_time(_: Graph, node: fx.Node) -> None:
    become(node, aten.mean.dim, node.args[0], [2], True)


RULES = (
    Rule("global pool as mean", _is_global_pool, _not_spatial_mean, _to_mean, reshapes=True),
    Rule("even pool as windows", calls_of(aten.adaptive_avg_pool2d.default), _uneven, _to_windows),
    Rule("pool of time as mean", calls_of(aten.adaptive_avg_pool1d.default), _not_a_sequence, _to_mean_of_time),
)
