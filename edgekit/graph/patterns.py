"""The chains of a quantised graph that become one integer operator each.

quant, fuse and export read this file. A quantised graph is built of *cells*: one float operator, the clamp fused behind
it where there is one, and the fake_quantize behind those. :func:`cell_at` reads a cell back from its last node. What
stands in no cell, or in one whose operator reads values that are not quantised, is computed in float.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from edgekit.graph import edit, kinds
from edgekit.graph.graph import Graph
from edgekit.ops.numerics import WEIGHT_MAX

aten = torch.ops.aten
FAKE_QUANTIZE = torch.ops.edgekit.fake_quantize.default
AS_FLOAT = aten.alias.default  # in front of an operator that is kept in float though all its operands are quantised

WEIGHTED = tuple(target for target, kind in kinds.KINDS.items() if kind is kinds.WEIGHTED)
CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)
TRANSPOSED = (aten.conv_transpose1d.default, aten.conv_transpose2d.input)
JOINS = (aten.add.Tensor, aten.sub.Tensor)
CLAMPS = (aten.relu.default, aten.clamp.default)
TRAINING_ONLY = kinds.IDENTITIES


def fused_clamp(node: fx.Node) -> fx.Node | None:
    """The relu or clamp that alone reads ``node`` and becomes the bounds of its requantisation."""
    if not can_clamp(node) or len(node.users) != 1:
        return None
    (user,) = node.users
    return user if is_clamp(user) else None


def can_clamp(node: fx.Node) -> bool:
    """Whether a call ends in a requantisation, whose bounds can hold a clamp."""
    kind = kinds.kind_of(node)
    return kind is not None and kind.rescales


def is_clamp(node: fx.Node) -> bool:
    """Whether a call is a relu or a clamp between numbers."""
    return edit.is_call(node, *CLAMPS) and not any(isinstance(bound, fx.Node) for bound in node.args[1:])


def clamp_bounds(node: fx.Node) -> tuple[float, float]:
    """Real bounds of a relu or clamp; infinite where there is none."""
    if node.target is aten.relu.default:
        return 0.0, math.inf
    parts = edit.arguments(node)
    return (
        -math.inf if parts["min"] is None else float(parts["min"]),
        math.inf if parts["max"] is None else float(parts["max"]),
    )


def apply_unary(node: fx.Node, values: Tensor) -> Tensor:
    """The function of a unary call on other values, in their precision; its numbers are those of float32."""
    args, kwargs = fx.node.map_aggregate((node.args[1:], node.kwargs), _as_float32)
    result: Tensor = node.target(values, *args, **kwargs)  # type: ignore[operator]
    return result


def _as_float32(value: Any) -> Any:
    return float(torch.tensor(value, dtype=torch.float32)) if isinstance(value, float) else value


def output_channels(layer: fx.Node) -> int:
    """The axis of a weighted layer's weight that runs over its output channels."""
    return 1 if layer.target in TRANSPOSED else 0


@dataclass(frozen=True)
class Cell:
    """One operator of a quantised graph with what is fused behind it.

    Attributes:
        body: the float operator.
        inner: the fake_quantize between body and clamp, if there is a clamp.
        clamp: the fused relu or clamp.
        end: the fake_quantize whose output the next cells read.
        is_border: the body is an input, a stored tensor, or a call in float: this cell only quantises its value.
    """

    body: fx.Node
    end: fx.Node
    inner: fx.Node | None = None
    clamp: fx.Node | None = None
    is_border: bool = False

    @property
    def scale(self) -> fx.Node:
        """The ``get_attr`` node of the output scale."""
        return scale_node(self.end)

    @property
    def real(self) -> fx.Node:
        """The node whose float value the cell's output stands for."""
        return self.clamp or self.body

    @property
    def members(self) -> set[fx.Node]:
        """The nodes that become one integer operator; the other results of its call are among them."""
        call = kinds.call_of(self.body)
        others = call.users if call is not self.body else ()
        return {node for node in (self.body, self.inner, self.clamp, call, *others) if node is not None}


def scale_node(fake: fx.Node) -> fx.Node:
    """The ``get_attr`` node of a fake_quantize's scale."""
    node = edit.arguments(fake)["scale"]
    assert isinstance(node, fx.Node)
    return node


def is_weight(fake: fx.Node) -> bool:
    """Whether a fake_quantize works on a layer's weight rather than on an activation; its bounds are symmetric."""
    return edit.input_node(fake).op == "get_attr" and edit.arguments(fake)["lo"] == -WEIGHT_MAX


def is_inner(fake: fx.Node) -> bool:
    """Whether a fake_quantize stands between an operator and its fused clamp."""
    if len(fake.users) != 1 or not can_clamp(edit.input_node(fake)):
        return False
    (user,) = fake.users
    return is_clamp(user) and any(n.target is FAKE_QUANTIZE and _same_scale(n, fake) for n in user.users)


def bytes_of(node: fx.Node) -> fx.Node:
    """Look through what is the identity in inference."""
    while node.target in TRAINING_ONLY:
        node = edit.input_node(node)
    return node


def is_quantised(node: fx.Node) -> bool:
    """Whether a node's value is one of int8 steps."""
    return edit.is_call(bytes_of(node), FAKE_QUANTIZE)


def is_integer(body: fx.Node) -> bool:
    """Whether a call is computed on integers: INT8 has a form for it, and all activations it reads are quantised."""
    kind, reads = kinds.kind_of(body), kinds.operands(body)
    if kind is None or not reads or not all(map(is_quantised, reads)):
        return False
    if kind in kinds.RECURRENT:
        return edit.arguments(kinds.call_of(body))["scales"] is not None
    return kind is not kinds.WEIGHTED or edit.is_call(edit.arguments(body)["weight"], FAKE_QUANTIZE)


def cell_at(end: fx.Node) -> Cell:
    """The cell whose last node is the activation fake_quantize ``end``."""
    body = edit.input_node(end)
    if is_clamp(body) and edit.is_call(body.args[0], FAKE_QUANTIZE) and is_inner(edit.input_node(body)):
        inner = edit.input_node(body)
        return Cell(edit.input_node(inner), end, inner, body, not is_integer(edit.input_node(inner)))
    return Cell(body, end, is_border=not is_integer(body))


def cells(graph: Graph) -> list[Cell]:
    """All cells in order; fake_quantize of weights and inner ones do not end a cell."""
    calls = edit.calls(graph.module)
    return [cell_at(n) for n in calls if n.target is FAKE_QUANTIZE and not is_weight(n) and not is_inner(n)]


def float_calls(graph: Graph) -> list[fx.Node]:
    """The calls of a quantised graph that compute float tensors in float, in order."""
    inside = {node for cell in cells(graph) if not cell.is_border for node in cell.members}
    calls = [n for n in edit.calls(graph.module) if n not in inside and n.target is not operator.getitem]
    calls = [n for n in calls if kinds.is_float(n) or isinstance(n.meta.get("val"), tuple)]
    return [n for n in calls if n.target not in (FAKE_QUANTIZE, AS_FLOAT, *TRAINING_ONLY)]


def inner_islands(graph: Graph) -> list[fx.Node]:
    """The calls in float that compute from values that were quantised."""
    behind, found = set[fx.Node](), set(float_calls(graph))
    for node in edit.calls(graph.module):
        if not behind.isdisjoint(node.all_input_nodes) or (node.target is FAKE_QUANTIZE and not is_weight(node)):
            behind.add(node)
    return [node for node in graph.nodes if node in behind and node in found]


def has_islands(graph: Graph) -> bool:
    """Whether a quantised graph computes anything in float."""
    return bool(float_calls(graph))


def _same_scale(a: fx.Node, b: fx.Node) -> bool:
    return scale_node(a).target == scale_node(b).target
