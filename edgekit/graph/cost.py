"""What a graph costs: multiply-accumulates and parameters, per call and in all, for a batch of 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import fx, nn

from edgekit.graph import edit
from edgekit.graph.graph import Graph

aten = torch.ops.aten
s8 = torch.ops.edgekit

CONVOLUTIONS = (
    aten.conv1d.default, aten.conv2d.default, aten.conv3d.default,
    aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding, s8.conv2d_s8.default,
)  # fmt: skip
TRANSPOSED = (aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input,
              s8.conv_transpose2d_s8.default)  # fmt: skip
LINEARS = (aten.linear.default, s8.linear_s8.default)
PRODUCTS = (
    aten.matmul.default, aten.bmm.default, aten.mm.default, s8.matmul_s8.default, s8.scaled_matmul.default,
)  # fmt: skip
WORDS = (s8.gru.default, s8.lstm.default, s8.gru_s8.default, s8.lstm_s8.default)
RECURRENT = (aten.gru.input, aten.lstm.input, aten.rnn_tanh.input, aten.rnn_relu.input)


class Shapes(Protocol):
    """What knows the shapes of values for a batch of 1, such as a Graph."""

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Of one value."""
        ...


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
    """Number of trainable or frozen parameters, float or integer; shared ones count once."""
    stored = {id(value): value for node in edit.calls(graph.module) for value in _stored(graph, node)}
    return sum(value.numel() for value in stored.values())


def macs(graph: Shapes, node: fx.Node) -> int:
    """Products that the call adds up: those of matrices, convolutions, attention and recurrent layers."""
    count = _COUNTS.get(node.target)
    return count(graph, node) if count is not None else 0


def parameters(graph: Graph, node: fx.Node) -> int:
    """Number of parameters that the call reads."""
    return sum(value.numel() for value in _stored(graph, node))


def _stored(graph: Graph, node: fx.Node) -> Iterator[torch.Tensor]:
    """The parameters behind a call, looking through a weight's fake_quantize; integer layers keep theirs as buffers."""
    if not isinstance(node.target, torch._ops.OpOverload) or node.target is s8.fake_quantize.default:
        return
    parts = edit.arguments(node)
    named = [parts.get("weight"), parts.get("bias")] if node.target.namespace == "edgekit" else []
    for source in node.all_input_nodes:
        read = edit.input_node(source) if edit.is_call(source, s8.fake_quantize.default) else source
        if read.op == "get_attr":
            value = edit.get_attribute(graph.module, str(read.target))
            if isinstance(value, nn.Parameter) or read in named:
                yield value


def _convolution(graph: Shapes, node: fx.Node) -> int:
    return math.prod(graph.shape(node)) * math.prod(_shape_of(graph, node, "weight")[1:])


def _transposed(graph: Shapes, node: fx.Node) -> int:
    """Every input value meets the whole kernel of its group."""
    return math.prod(graph.shape(edit.input_node(node))) * math.prod(_shape_of(graph, node, "weight")[1:])


def _linear(graph: Shapes, node: fx.Node) -> int:
    return math.prod(graph.shape(node)) * _shape_of(graph, node, "weight")[-1]


def _product(graph: Shapes, node: fx.Node) -> int:
    return math.prod(graph.shape(node)) * graph.shape(edit.input_node(node))[-1]


def _attention(graph: Shapes, node: fx.Node) -> int:
    """Queries with keys, then weights with values."""
    (*outer, queries, width), keys = (_shape_of(graph, node, name) for name in ("query", "key"))
    return math.prod(outer) * queries * keys[-2] * (width + _shape_of(graph, node, "value")[-1])


def _recurrent(graph: Shapes, node: fx.Node) -> int:
    """Every weight matrix meets one vector at each step of time."""
    parts = edit.arguments(node)
    vectors = math.prod(graph.shape(parts["input"])[:2])
    matrices = [graph.shape(weight) for weight in parts["params"]]
    return vectors * sum(math.prod(shape) for shape in matrices if len(shape) == 2)


def _word(graph: Shapes, node: fx.Node) -> int:
    """The recurrent weights of every gate meet one vector at each step of time."""
    (steps, batch, units), state = (_shape_of(graph, node, name) for name in (_first(node), "h0"))
    return steps * batch * units * state[-1] * (3 if node.target in (s8.gru.default, s8.gru_s8.default) else 4)


def _first(node: fx.Node) -> str:
    return next(iter(edit.arguments(node)))


def _shape_of(graph: Shapes, node: fx.Node, argument: str) -> tuple[int, ...]:
    return graph.shape(edit.arguments(node)[argument])


_COUNTS: dict[Any, Callable[[Shapes, fx.Node], int]] = {
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    **dict.fromkeys(TRANSPOSED, _transposed),
    **dict.fromkeys(LINEARS, _linear),
    **dict.fromkeys(PRODUCTS, _product),
    **dict.fromkeys(RECURRENT, _recurrent),
    **dict.fromkeys(WORDS, _word),
    aten.scaled_dot_product_attention.default: _attention,
}
