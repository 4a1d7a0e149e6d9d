"""Where to quantise: a plan made of rules (match, check), carried out by :func:`insert`.

The front of the graph (``graph/front.py``) stays in float up to its last operator without an integer form.

The result holds the superset of pairs that ONNX Runtime wants: behind every convolution and linear, also in front of an
addition, and one in front of a fused clamp that shares the clamp's scale. Export for TensorRT removes some of them;
nothing else adds any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, fx

from edgekit.errors import NumericsError, OperatorError, UnsupportedError
from edgekit.graph import Graph, edit, fold, front, patterns
from edgekit.ops import numerics

aten = torch.ops.aten
TINY = torch.finfo(torch.float32).tiny


@dataclass
class Plan:
    """Which node's value gives the scale of which node's output.

    Attributes:
        observed: nodes whose values calibration must see, in order.
        scale_of: for every quantised node, the observed node whose scale it has.
        front: calls in front of everything learned that stay in float.
    """

    front: frozenset[fx.Node] = frozenset()
    observed: list[fx.Node] = field(default_factory=list)
    scale_of: dict[fx.Node, fx.Node] = field(default_factory=dict)

    def own(self, node: fx.Node, observed: fx.Node | None = None) -> None:
        """``node`` is quantised with a scale taken from the values of ``observed`` (default: its own)."""
        self.scale_of[node] = observed or node
        self.observed.append(observed or node)


@dataclass(frozen=True)
class Rule:
    """Operators, why one of them cannot be quantised (or an empty string), and what its output's scale is."""

    name: str
    match: tuple[object, ...]
    check: Callable[[Graph, Plan, fx.Node], str]
    place: Callable[[Plan, fx.Node], None]


def plan(graph: Graph) -> Plan:
    """Decide for every float activation of a canonical graph with folded batch norm.

    Raises:
        OperatorError: for the first operator that cannot be quantised, with its source line.
        NumericsError: for a layer whose sums int32 does not hold, with its source line.
        UnsupportedError: for a graph without operators on activations.
    """
    result, may_stay = Plan(), front.front(graph)
    while refused := _fill(result, graph):
        node, reason = _user_of_constant(refused[0]), refused[1]
        if node not in may_stay:
            raise OperatorError(
                f"{edit.describe(node)} cannot be quantised: {reason}.",
                fix="Leave the model in float, or replace the operator.",
            )
        result = Plan(frozenset(result.front | _with_sources(node)))
    if not any(node in result.scale_of for node in edit.calls(graph.module)):
        raise UnsupportedError("the graph has no operator on activations: there is nothing to quantise.")
    return result


def _fill(result: Plan, graph: Graph) -> tuple[fx.Node, str] | None:
    """Place every node; the first that cannot be quantised, and why not."""
    for node in graph.nodes:
        if node in result.front or node.op == "placeholder":
            if node.meta["val"].is_floating_point() and not _is_inside(result, node):
                result.own(node)
        elif node.op == "call_function" and node not in result.scale_of and (reason := _place(graph, result, node)):
            return node, reason
    return None


def _is_inside(result: Plan, node: fx.Node) -> bool:
    """Whether only the front computes with a value; outputs and sizes do not compute."""
    readers = {user for user in node.users if user.op != "output" and isinstance(user.meta.get("val"), Tensor)}
    return readers <= result.front and bool(readers or node in result.front)


def _with_sources(node: fx.Node) -> set[fx.Node]:
    """A call and all calls that it computes from."""
    found, waiting = set[fx.Node](), [node]
    while waiting:
        here = waiting.pop()
        if here.op == "call_function" and here not in found and isinstance(here.meta.get("val"), Tensor):
            found.add(here)
            waiting += here.all_input_nodes
    return found


def _place(graph: Graph, result: Plan, node: fx.Node) -> str:
    """Apply a node's rule, or say why there is none that fits."""
    if not isinstance(node.meta.get("val"), Tensor):
        return ""  # a size
    rule = next((rule for rule in RULES if node.target in rule.match), None)
    reason = rule.check(graph, result, node) if rule else "the operator has no integer form"
    if rule is not None and not reason:
        rule.place(result, node)
    return reason


def _user_of_constant(node: fx.Node) -> fx.Node:
    """Whoever reads a tensor made from nothing, such as the first state of a GRU: that is what users know."""
    while node.users and not any(isinstance(n.meta.get("val"), Tensor) for n in node.all_input_nodes):
        node = next(iter(node.users))
    return node


def _rescaled(result: Plan, node: fx.Node) -> None:
    clamp = patterns.fused_clamp(node)
    result.own(node, clamp)
    if clamp is not None:
        result.scale_of[clamp] = clamp


def _carried(result: Plan, node: fx.Node) -> None:
    result.scale_of[node] = result.scale_of[edit.input_node(node)]


def _input_is_quantised(_: Graph, result: Plan, node: fx.Node) -> str:
    source = edit.input_node(node)
    return "" if source in result.scale_of else f"its input {source.name} is not a quantised activation"


def _weighted(graph: Graph, result: Plan, node: fx.Node) -> str:
    parts = edit.arguments(node)
    if parts["weight"].op != "get_attr" or (parts["bias"] is not None and parts["bias"].op != "get_attr"):
        return "its weight or bias is computed, not stored"
    try:
        numerics.check_reduction(edit.get_tensor(graph.module, parts["weight"])[0].numel())
    except NumericsError as error:
        raise error.at(edit.describe(node)) from error
    return _input_is_quantised(graph, result, node)


def _join(_: Graph, result: Plan, node: fx.Node) -> str:
    operands = node.args[:2]
    if len(operands) < 2 or not all(isinstance(n, fx.Node) and n in result.scale_of for n in operands):
        return "an addition needs two activations, and one summand is a parameter or no activation"
    first, second = (edit.operand(node, index).meta["val"].shape for index in (0, 1))
    if edit.arguments(node)["alpha"] != 1 or first != second:
        return "an addition with broadcasting or alpha has no integer form"
    return ""


def _pool(graph: Graph, result: Plan, node: fx.Node) -> str:
    parts, rank = edit.arguments(node), len(graph.shape(edit.input_node(node)))
    if rank != 4 or (node.target is aten.mean.dim and sorted(d % rank for d in parts["dim"] or []) != [2, 3]):
        return "only pools over height and width of [N, C, H, W] have an integer form"
    return _input_is_quantised(graph, result, node)


def _batch_norm(_: Graph, __: Plan, node: fx.Node) -> str:
    return f"batch norm has an integer form only as part of the layer before it, and {fold.why_not_folded(node)}"


RULES = (
    Rule("weighted", patterns.WEIGHTED, _weighted, _rescaled),
    Rule("join", patterns.JOINS, _join, _rescaled),
    Rule("pool", patterns.POOLS, _pool, _rescaled),
    Rule("max pool", (aten.max_pool2d.default,), _pool, _carried),
    Rule("carry", patterns.CARRIES + patterns.TRAINING_ONLY, _input_is_quantised, _carried),
    Rule("unary", patterns.UNARY, _input_is_quantised, Plan.own),
    Rule("batch norm", (aten.batch_norm.default,), _batch_norm, Plan.own),
)


def insert(graph: Graph, placed: Plan, scales: dict[fx.Node, Tensor], per_channel: bool) -> None:
    """Put fake_quantize behind every planned node and in front of every weight, scales as buffers; refresh."""
    first_call = next(edit.calls(graph.module))
    stored = {node: _store(graph, f"{node.name}_scale", scale, first_call) for node, scale in scales.items()}
    for node in placed.scale_of:
        if node.target in patterns.WEIGHTED and node not in placed.front:
            before, behind = placed.scale_of[edit.input_node(node)], placed.scale_of[node]
            _quantize_weight(graph, node, scales[before], scales[behind], per_channel)
    for node, observed in placed.scale_of.items():
        if node.target not in patterns.TRAINING_ONLY:
            arguments, name = (node, stored[observed]), f"{node.name}_q"
            if node.op == "placeholder":  # scales are read after the inputs
                fake = edit.call_before(first_call, patterns.FAKE_QUANTIZE, arguments, name)
            else:
                fake = edit.call_after(node, patterns.FAKE_QUANTIZE, arguments, name)
            edit.replace_uses(node, fake, keep=partial(_stays_float, placed, node))
    graph.refresh()


def _stays_float(placed: Plan, source: fx.Node, user: fx.Node) -> bool:
    """Whether ``user`` reads the float value of a quantised node: calls of the front do, and an output of the front."""
    return user in placed.front or (user.op == "output" and source in placed.front)


def _store(graph: Graph, name: str, value: Tensor, before: fx.Node) -> fx.Node:
    numerics.check_scale(value, name)
    return edit.add_tensor(graph.module, name, value, before)


def _quantize_weight(graph: Graph, layer: fx.Node, before: Tensor, behind: Tensor, per_channel: bool) -> None:
    """Put fake_quantize in front of a layer's weight; ``before`` and ``behind`` are the scales of input and output."""
    parts = edit.arguments(layer)
    weight = edit.get_tensor(graph.module, parts["weight"])
    bias = None if parts["bias"] is None else edit.get_tensor(graph.module, parts["bias"])
    scale = _without_dead(numerics.weight_scale(weight, bias, before), before, behind)
    if not per_channel:
        scale = scale.max().expand_as(scale).contiguous()
    node = _store(graph, f"{layer.name}_weight_scale", scale, layer)
    arguments = (parts["weight"], node, 0, -numerics.WEIGHT_MAX, numerics.WEIGHT_MAX)
    fake = edit.call_before(layer, patterns.FAKE_QUANTIZE, arguments, f"{layer.name}_weight_q")
    edit.set_argument(layer, "weight", fake)


def _without_dead(scale: Tensor, before: Tensor, behind: Tensor) -> Tensor:
    """Scale 1 for a channel so weak that a product of scales would not be a normal number, as weight decay leaves them.

    A sum below 2^31 steps of less than 2^-33 output steps each rounds to 0 whatever the input, so nothing is lost.
    """
    step, output = scale.double() * before.double(), behind.double()
    dead = (step < output * 2.0**-33) & ((step < TINY) | (step < output * TINY))
    return torch.where(dead, torch.ones_like(scale), scale)
