"""``clamp`` for whatever bounds a value by two numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from edgekit.graph import edit
from edgekit.graph.canonical.rule import Rule, always, become, calls_of
from edgekit.graph.graph import Graph

aten = torch.ops.aten

_BOUNDS: dict[Any, Callable[[dict[str, Any]], tuple[Any, Any]]] = {
    aten.hardtanh.default: lambda parts: (parts["min_val"], parts["max_val"]),
    aten.relu6.default: lambda _: (0.0, 6.0),
    aten.clamp_min.default: lambda parts: (parts["min"], None),
    aten.clamp_max.default: lambda parts: (None, parts["max"]),
}


def _to_clamp(_: Graph, node: fx.Node) -> None:
    low, high = _BOUNDS[node.target](edit.arguments(node))
    become(node, aten.clamp.default, node.args[0], low, high)


RULES = (Rule("bounds as clamp", calls_of(*_BOUNDS), always, _to_clamp),)
