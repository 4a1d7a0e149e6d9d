"""One overload, and one operator, for each kind of arithmetic."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekit.graph import edit
from edgekit.graph.canonical.rule import Rule, always, become, calls_of
from edgekit.graph.graph import Graph

aten = torch.ops.aten
_TWINS: dict[Any, Any] = {
    aten.add.Scalar: aten.add.Tensor,
    aten.sub.Scalar: aten.sub.Tensor,
    aten.mul.Scalar: aten.mul.Tensor,
    aten.div.Scalar: aten.div.Tensor,
    aten.subtract.Tensor: aten.sub.Tensor,
    aten.subtract.Scalar: aten.sub.Tensor,
    aten.multiply.Tensor: aten.mul.Tensor,
    aten.multiply.Scalar: aten.mul.Tensor,
    aten.divide.Tensor: aten.div.Tensor,
    aten.divide.Scalar: aten.div.Tensor,
    aten.true_divide.Tensor: aten.div.Tensor,
    aten.true_divide.Scalar: aten.div.Tensor,
    aten.negative.default: aten.neg.default,
    aten.bmm.default: aten.matmul.default,
    aten.mm.default: aten.matmul.default,
}
_WITH_NUMBERS = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)
_NORMAL = range(-126, 127)  # powers of two whose reciprocal is a normal float32, too


def _to_twin(_: Graph, node: fx.Node) -> None:
    node.target = _TWINS[node.target]


def _to_sub(_: Graph, node: fx.Node) -> None:
    parts = edit.arguments(node)
    rest = () if parts["alpha"] == 1 else (parts["alpha"],)
    become(node, aten.sub.Tensor, parts["other"], parts["self"], *rest)


def _inexact(node: fx.Node) -> str:
    divisor = node.args[1]
    if isinstance(divisor, (fx.Node, bool)) or not isinstance(divisor, (int, float)):
        return "it divides by a tensor"
    if not node.meta["val"].is_floating_point() or node.meta["val"].dtype != edit.input_node(node).meta["val"].dtype:
        return "the result has another type than its input"
    mantissa, exponent = math.frexp(divisor)
    if abs(mantissa) != 0.5 or exponent - 1 not in _NORMAL:
        return "the reciprocal of the divisor is rounded"
    return ""


def _to_product(_: Graph, node: fx.Node) -> None:
    become(node, aten.mul.Tensor, node.args[0], 1.0 / float(node.args[1]))  # type: ignore[arg-type]


def _is_square(node: fx.Node) -> bool:
    if node.target is aten.square.default:
        return True
    return node.target is aten.mul.Tensor and node.args[0] is node.args[1]


def _to_power(_: Graph, node: fx.Node) -> None:
    become(node, aten.pow.Tensor_Scalar, node.args[0], 2)


def _stored_number(node: fx.Node) -> float | None:
    """The second operand of a call, where that is a stored constant that holds one number of the call's own type."""
    if node.target not in _WITH_NUMBERS or not isinstance(node.args[1], fx.Node) or node.args[1].op != "get_attr":
        return None
    module = node.graph.owning_module
    assert module is not None
    value: Any = edit.get_attribute(module, str(node.args[1].target))
    if not isinstance(value, Tensor) or isinstance(value, nn.Parameter) or value.dim():
        return None
    kinds = {value.dtype, node.meta["val"].dtype, edit.input_node(node).meta["val"].dtype}
    return float(value) if kinds == {torch.float32} else None


def _holds_number(node: fx.Node) -> bool:
    return _stored_number(node) is not None


def _written_to(node: fx.Node) -> str:
    calls = (other.target for other in node.graph.nodes if other.op == "call_function")
    if any(isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable for target in calls):
        return "the graph writes into memory, which may be that of the number"
    return ""


def _to_number(_: Graph, node: fx.Node) -> None:
    node.args = (node.args[0], _stored_number(node), *node.args[2:])


RULES = (
    Rule("names of arithmetic", calls_of(*_TWINS), always, _to_twin),
    Rule("reversed difference", calls_of(aten.rsub.Tensor), always, _to_sub),
    Rule("stored numbers", _holds_number, _written_to, _to_number),
    Rule("division by a power of two", calls_of(aten.div.Tensor), _inexact, _to_product),
    Rule("square as power", _is_square, always, _to_power),
)
