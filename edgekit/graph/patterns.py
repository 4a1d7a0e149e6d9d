"""What each operator is to quantisation, and the chains that become one integer operator.

quant, fuse and export read this file. A quantised graph is built of *cells*: one float operator, the clamp fused behind
it where there is one, and the fake_quantize behind those. :func:`cell_at` reads a cell back from its last node.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from edgekit.graph import edit, front
from edgekit.graph.graph import Graph

aten = torch.ops.aten
FAKE_QUANTIZE = torch.ops.edgekit.fake_quantize.default

WEIGHTED = (aten.conv2d.default, aten.linear.default)
JOINS = (aten.add.Tensor,)
POOLS = (aten.avg_pool2d.default, aten.mean.dim)
CLAMPS = (aten.relu.default, aten.clamp.default)
# The bytes stay what they are: one scale in and out.
CARRIES = (aten.max_pool2d.default, aten.flatten.using_ints, aten.reshape.default)
UNARY = (
    aten.sigmoid.default, aten.tanh.default, aten.gelu.default, aten.silu.default, aten.hardswish.default,
    aten.hardsigmoid.default, aten.elu.default, aten.leaky_relu.default, aten.relu.default, aten.clamp.default,
)  # fmt: skip
RESCALED = WEIGHTED + JOINS + POOLS  # operators that end in a requantisation, whose bounds can hold a clamp
# The identity in inference.
TRAINING_ONLY = (
    aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default,
    aten.feature_alpha_dropout.default, aten.detach.default,
)  # fmt: skip


def fused_clamp(node: fx.Node) -> fx.Node | None:
    """The relu or clamp that alone reads ``node`` and becomes the bounds of its requantisation."""
    if node.target not in RESCALED or len(node.users) != 1:
        return None
    (user,) = node.users
    return user if user.target in CLAMPS else None


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
    """The function of a unary call on other values, in their precision."""
    result: Tensor = node.target(values, *node.args[1:], **node.kwargs)  # type: ignore[operator]
    return result


@dataclass(frozen=True)
class Cell:
    """One operator of a quantised graph with what is fused behind it.

    Attributes:
        body: the float operator.
        inner: the fake_quantize between body and clamp, if there is a clamp.
        clamp: the fused relu or clamp.
        end: the fake_quantize whose output the next cells read.
        is_input: the body is an input, or the last call of the float front: this cell only quantises its value.
    """

    body: fx.Node
    end: fx.Node
    inner: fx.Node | None = None
    clamp: fx.Node | None = None
    is_input: bool = False

    @property
    def scale(self) -> fx.Node:
        """The ``get_attr`` node of the output scale."""
        return scale_node(self.end)

    @property
    def real(self) -> fx.Node:
        """The node whose float value the cell's output stands for."""
        return self.clamp or self.body


def scale_node(fake: fx.Node) -> fx.Node:
    """The ``get_attr`` node of a fake_quantize's scale."""
    node = edit.arguments(fake)["scale"]
    assert isinstance(node, fx.Node)
    return node


def is_weight(fake: fx.Node) -> bool:
    """Whether a fake_quantize works on a stored tensor rather than on an activation."""
    return edit.input_node(fake).op == "get_attr"


def is_inner(fake: fx.Node) -> bool:
    """Whether a fake_quantize stands between an operator and its fused clamp."""
    if len(fake.users) != 1 or edit.input_node(fake).target not in RESCALED:
        return False
    (user,) = fake.users
    return user.target in CLAMPS and any(n.target is FAKE_QUANTIZE and _same_scale(n, fake) for n in user.users)


def cell_at(end: fx.Node, front: Collection[fx.Node] = ()) -> Cell:
    """The cell whose last node is the activation fake_quantize ``end``, in a graph with this front."""
    body = edit.input_node(end)
    if body.op == "placeholder" or body in front:
        return Cell(body, end, is_input=True)
    if body.target in CLAMPS and edit.is_call(body.args[0], FAKE_QUANTIZE) and is_inner(body.args[0]):  # type: ignore[arg-type]
        inner = edit.input_node(body)
        return Cell(edit.input_node(inner), end, inner, body)
    return Cell(body, end)


def cells(graph: Graph) -> list[Cell]:
    """All cells in order; fake_quantize of weights and inner ones do not end a cell."""
    calls = edit.calls(graph.module)
    ends = [n for n in calls if n.target is FAKE_QUANTIZE and not is_weight(n) and not is_inner(n)]
    found = front.front(graph)
    return [cell_at(end, found) for end in ends]


def has_front(graph: Graph) -> bool:
    """Whether a quantised graph computes in float before it quantises."""
    return any(cell.is_input and cell.body.op != "placeholder" for cell in cells(graph))


def _same_scale(a: fx.Node, b: fx.Node) -> bool:
    return scale_node(a).target == scale_node(b).target
