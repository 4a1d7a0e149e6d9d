"""Where to quantise: a plan made of rules (match, check), carried out by :func:`insert`.

The result holds the superset of pairs that ONNX Runtime wants: behind every convolution and linear, also in front of an addition, and
one in front of a fused clamp that shares the clamp's scale. Export for TensorRT removes some of them; nothing else adds any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn

from edgekit.errors import OperatorError
from edgekit.graph import Graph, edit, patterns
from edgekit.ops import numerics

aten = torch.ops.aten


@dataclass
class Plan:
    """Which node's value gives the scale of which node's output.

    Attributes:
        observed: nodes whose values calibration must see, in order.
        scale_of: for every quantised node, the observed node whose scale it has.
    """

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
    """
    result = Plan()
    for node in graph.nodes:
        if node.op == "placeholder" and node.meta["val"].is_floating_point():
            result.own(node)
        elif node.op == "call_function" and node not in result.scale_of:
            _place(graph, result, node)
    return result


def _place(graph: Graph, result: Plan, node: fx.Node) -> None:
    if not isinstance(node.meta.get("val"), Tensor):
        return  # a size
    rule = next((rule for rule in RULES if node.target in rule.match), None)
    reason = rule.check(graph, result, node) if rule else "the operator has no integer form"
    if rule is None or reason:
        raise OperatorError(
            f"{edit.describe(node)} cannot be quantised: {reason}.",
            fix="Leave the model in float, or replace the operator.",
        )
    rule.place(result, node)


def _rescaled(result: Plan, node: fx.Node) -> None:
    clamp = patterns.fused_clamp(node)
    result.own(node, clamp)
    if clamp is not None:
        result.scale_of[clamp] = clamp


def _carried(result: Plan, node: fx.Node) -> None:
    result.scale_of[node] = result.scale_of[edit.input_node(node)]


def _input_is_float(result: Plan, node: fx.Node) -> str:
    missing = [n.name for n in node.all_input_nodes if n.op != "get_attr" and n not in result.scale_of and _is_float(n)]
    return f"its input {missing[0]} is not quantised" if missing else ""


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


def _weighted(graph: Graph, result: Plan, node: fx.Node) -> str:
    parts = edit.arguments(node)
    if parts["weight"].op != "get_attr" or (parts["bias"] is not None and parts["bias"].op != "get_attr"):
        return "its weight is computed, not stored"
    return _input_is_float(result, node)


def _join(graph: Graph, result: Plan, node: fx.Node) -> str:
    if len(node.args) < 2 or not all(
        isinstance(operand, fx.Node) and operand in result.scale_of for operand in node.args[:2]
    ):
        return "an addition needs two activations"
    if edit.arguments(node)["alpha"] != 1 or graph.shape(node.args[0]) != graph.shape(node.args[1]):  # type: ignore[arg-type]
        return "an addition with broadcasting or alpha has no integer form"
    return ""


def _pool(graph: Graph, result: Plan, node: fx.Node) -> str:
    parts = edit.arguments(node)
    rank = len(graph.shape(edit.input_node(node)))
    if rank != 4 or (node.target is aten.mean.dim and sorted(d % rank for d in parts["dim"]) != [2, 3]):
        return "only pools over height and width have an integer form"
    return _input_is_float(result, node)


def _unary(graph: Graph, result: Plan, node: fx.Node) -> str:
    return _input_is_float(result, node)


RULES = (
    Rule("weighted", patterns.WEIGHTED, _weighted, _rescaled),
    Rule("join", patterns.JOINS, _join, _rescaled),
    Rule("pool", patterns.POOLS, _pool, _rescaled),
    Rule("carry", patterns.CARRIES + patterns.TRAINING_ONLY, _unary, _carried),
    Rule("unary", patterns.UNARY, _unary, Plan.own),
)


def insert(graph: Graph, placed: Plan, scales: dict[fx.Node, Tensor], per_channel: bool) -> None:
    """Put fake_quantize behind every planned node and in front of every weight, scales as buffers; refresh."""
    first_call = next(edit.calls(graph.module))
    stored = {node: _store(graph, f"{node.name}_scale", scale, first_call) for node, scale in scales.items()}
    for node in placed.scale_of:
        if node.target in patterns.WEIGHTED:
            source = scales[placed.scale_of[edit.input_node(node)]]
            _quantize_weight(graph, node, source, per_channel)
    for node, observed in placed.scale_of.items():
        if node.target not in patterns.TRAINING_ONLY:
            arguments, name = (node, stored[observed]), f"{node.name}_q"
            if node.op == "placeholder":  # scales are read after the inputs
                fake = edit.call_before(first_call, patterns.FAKE_QUANTIZE, arguments, name)
            else:
                fake = edit.call_after(node, patterns.FAKE_QUANTIZE, arguments, name)
            edit.replace_uses(node, fake)
    graph.refresh()


def _store(graph: Graph, name: str, value: Tensor, before: fx.Node) -> fx.Node:
    numerics.check_scale(value, name)
    return edit.add_tensor(graph.module, name, value, before)


def _quantize_weight(graph: Graph, layer: fx.Node, input_scale: Tensor, per_channel: bool) -> None:
    parts = edit.arguments(layer)
    weight = edit.get_tensor(graph.module, parts["weight"])
    bias = None if parts["bias"] is None else edit.get_tensor(graph.module, parts["bias"])
    scale = numerics.weight_scale(weight, bias, input_scale)
    if not per_channel:
        scale = scale.max().expand_as(scale).contiguous()
    node = _store(graph, f"{layer.name}_weight_scale", scale, layer)
    arguments = (parts["weight"], node, 0, -numerics.WEIGHT_MAX, numerics.WEIGHT_MAX)
    fake = edit.call_before(layer, patterns.FAKE_QUANTIZE, arguments, f"{layer.name}_weight_q")
    edit.set_argument(layer, "weight", fake)
