"""What a graph computes from constants alone, computed once: positions, causal masks, tables of angles."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekit.graph import edit
from edgekit.graph.graph import Graph, known_size

LARGEST = 1 << 20  # values; a file that holds a larger table instead of its formula would be no gain


def fold_constants(graph: Graph, learned: bool = False) -> bool:
    """Store the value of every call that reads only constants; whether there was one.

    Args:
        graph: edited in place; random calls stay, and all calls where the graph writes into memory.
        learned: parameters count as constants, too, for a graph that is not trained any more: a slice of a packed
            weight becomes a weight of its own.
    """
    if any(_target(node)._schema.is_mutable for node in graph.nodes if _is_operator(node)):
        return False
    constant: set[fx.Node] = set()
    for node in graph.nodes:
        if _is_constant(graph, node, learned) or (_is_operator(node) and _can_fold(node, constant)):
            constant.add(node)
    values: dict[fx.Node, Any] = {}
    folded = [n for n in graph.nodes if n in constant and n.op != "get_attr" and not constant.issuperset(n.users)]
    for node in folded:
        value = _value(graph, node, values)
        stored = nn.Parameter(value, requires_grad=False) if _reads_learned(graph, node) else value
        node.replace_all_uses_with(edit.add_tensor(graph.module, node.name, stored, before=node))
    edit.drop_dead(graph.module)
    return bool(folded)


def _is_operator(node: fx.Node) -> bool:
    return node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload)


def _target(node: fx.Node) -> torch._ops.OpOverload:
    return edit.overload(node)


def _is_constant(graph: Graph, node: fx.Node, learned: bool) -> bool:
    if node.op != "get_attr":
        return False
    value = edit.get_attribute(graph.module, str(node.target))
    return isinstance(value, Tensor) and (learned or not isinstance(value, nn.Parameter))


def _can_fold(node: fx.Node, constant: set[fx.Node]) -> bool:
    value, target = node.meta.get("val"), _target(node)
    if target.namespace != "aten" or torch.Tag.nondeterministic_seeded in target.tags or not isinstance(value, Tensor):
        return False
    sizes = [known_size(size) for size in value.shape]
    small = all(size is not None for size in sizes) and math.prod(size or 0 for size in sizes) <= LARGEST
    return small and constant.issuperset(node.all_input_nodes)


def _value(graph: Graph, node: fx.Node, values: dict[fx.Node, Any]) -> Tensor:
    """The value of a constant call, through everything that it reads."""
    if node.op == "get_attr":
        return edit.get_tensor(graph.module, node)
    if node not in values:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: _value(graph, n, values))
        with torch.no_grad():
            values[node] = _target(node)(*args, **kwargs).clone(memory_format=torch.contiguous_format)
    value: Tensor = values[node]
    return value


def _reads_learned(graph: Graph, node: fx.Node) -> bool:
    waiting, seen = [node], {node}
    while waiting:
        here = waiting.pop()
        if here.op == "get_attr" and isinstance(edit.get_attribute(graph.module, str(here.target)), nn.Parameter):
            return True
        new = set(here.all_input_nodes) - seen
        seen |= new
        waiting += new
    return False
