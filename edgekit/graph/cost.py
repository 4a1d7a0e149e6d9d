"""What a graph costs: multiply-accumulates and parameters, per call and in all, for a batch of 1."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import fx

from edgekit.graph import edit
from edgekit.graph.graph import Graph

aten = torch.ops.aten
s8 = torch.ops.edgekit

CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default, s8.conv2d_s8.default)
LINEARS = (aten.linear.default, s8.linear_s8.default)
PRODUCTS = (aten.matmul.default, aten.bmm.default, aten.mm.default)


@dataclass(frozen=True)
class LayerCost:
    """One call: its node name, multiply-accumulates for a batch of 1, and parameters it reads."""

    name: str
    macs: int
    parameters: int


def layer_costs(graph: Graph) -> tuple[LayerCost, ...]:
    """Cost of every operator call, in order. Operators without products count 0 multiply-accumulates."""
    return tuple(
        LayerCost(n.name, macs(graph, n), parameters(graph, n)) for n in graph.nodes if n.op == "call_function"
    )


def total_macs(graph: Graph) -> int:
    """Multiply-accumulates of one run with a batch of 1."""
    return sum(layer.macs for layer in layer_costs(graph))


def total_parameters(graph: Graph) -> int:
    """Number of weights and biases, float or integer; shared ones count once."""
    paths = {str(n.target): n for node in graph.nodes if node.op == "call_function" for n in _stored(node)}
    return sum(edit.get_tensor(graph.module, node).numel() for node in paths.values())


def macs(graph: Graph, node: fx.Node) -> int:
    """Products that the call adds up: output values times the length of the sum behind each."""
    if node.target in CONVOLUTIONS:
        fan_in = math.prod(_shape_of(graph, node, "weight")[1:])
    elif node.target in LINEARS:
        fan_in = _shape_of(graph, node, "weight")[-1]
    elif node.target in PRODUCTS:
        fan_in = graph.shape(edit.input_node(node))[-1]
    else:
        return 0
    return math.prod(graph.shape(node)) * fan_in


def parameters(graph: Graph, node: fx.Node) -> int:
    """Number of weights and biases that the call reads."""
    return sum(edit.get_tensor(graph.module, stored).numel() for stored in _stored(node))


def _stored(node: fx.Node) -> list[fx.Node]:
    """The tensors behind a call's weight and bias, looking through a weight's fake_quantize."""
    if not isinstance(node.target, torch._ops.OpOverload) or node.target is s8.fake_quantize.default:
        return []
    parts = edit.arguments(node)
    found = [parts[name] for name in ("weight", "bias") if isinstance(parts.get(name), fx.Node)]
    sources = [edit.input_node(n) if edit.is_call(n, s8.fake_quantize.default) else n for n in found]
    return [n for n in sources if n.op == "get_attr"]


def _shape_of(graph: Graph, node: fx.Node, argument: str) -> tuple[int, ...]:
    return graph.shape(edit.arguments(node)[argument])
