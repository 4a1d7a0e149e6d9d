"""The front of a graph: what it computes before anything learned has a part in it, such as the spectrum of a sound.

Preprocessing that ships with a model stands there. It has no channels to prune and stays in float; behind it begins
what is pruned and quantised. An embedding counts too where it reads input: the place of a row is no activation.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from edgekit.graph import edit
from edgekit.graph.graph import Graph

EMBEDDING = torch.ops.aten.embedding.default
FAKE_QUANTIZE = torch.ops.edgekit.fake_quantize.default


def front(graph: Graph) -> set[fx.Node]:
    """Inputs, constants, and every call that reads only those, an embedding's table aside; none behind a quantiser."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        constant = node.op == "get_attr" and not _is_learned(graph, node)
        call = node.op == "call_function" and node.target is not FAKE_QUANTIZE
        if node.op == "placeholder" or constant or (call and _reads_only(node, found)):
            found.add(node)
    return found


def front_calls(graph: Graph) -> list[fx.Node]:
    """The calls of the front that compute a tensor, in order."""
    found = front(graph)
    return [node for node in edit.calls(graph.module) if node in found and isinstance(node.meta.get("val"), Tensor)]


def embedded(graph: Graph) -> dict[fx.Node, int]:
    """For every node whose values choose rows of an embedding, how many rows there are."""
    return {
        parts["indices"]: parts["weight"].meta["val"].shape[0]
        for parts in (edit.arguments(node) for node in edit.calls(graph.module) if node.target is EMBEDDING)
    }


def _reads_only(node: fx.Node, found: set[fx.Node]) -> bool:
    sources = node.all_input_nodes
    if node.target is EMBEDDING:
        sources = [edit.arguments(node)["indices"]]
    return bool(sources) and found.issuperset(sources)


def _is_learned(graph: Graph, node: fx.Node) -> bool:
    value = edit.get_attribute(graph.module, str(node.target))
    return isinstance(value, nn.Parameter) or not isinstance(value, Tensor)  # a part of the graph may hold anything
