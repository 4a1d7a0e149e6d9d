"""``x.relu_()`` as ``y = relu(x)``, wherever no other name for the same memory is read afterwards.

What cannot be told apart from its functional twin is rewritten; an update of stored state, or of memory that is read
again through another view, stays as the user wrote it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from edgekit.graph import edit

aten = torch.ops.aten
# In inference these give back their very input, though their schema does not say so.
_MAY_RETURN_INPUT = (
    aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default, aten.feature_alpha_dropout.default,
)  # fmt: skip


def is_in_place(node: fx.Node) -> bool:
    """Whether a call writes into its first argument."""
    if not isinstance(node.target, torch._ops.OpOverload) or not node.args or not isinstance(node.args[0], fx.Node):
        return False
    first = node.target._schema.arguments[0].alias_info
    return first is not None and first.is_write


def why_not_functional(node: fx.Node) -> str:
    """Why an in-place call has to stay one; empty if :func:`make_functional` may rewrite it."""
    if _twin(node.target) is None:
        return "the operator has no functional twin"
    changed = edit.input_node(node)
    if not all(_keeps_type(changed, other) for other in node.all_input_nodes):
        return "the result would have the type of another operand"
    order = {other: index for index, other in enumerate(node.graph.nodes)}
    aliases = [other for other in _same_memory(changed, node) if order[other] < order[node]]
    if any(other.op == "get_attr" for other in aliases):
        return "it updates stored state"
    for other in aliases:
        if other is not changed and any(order[user] >= order[node] for user in other.users):
            return f"{other.name} shares the memory and is read afterwards"
    return ""


def make_functional(node: fx.Node) -> None:
    """``x.relu_()`` becomes ``y = relu(x)``; whoever read x after it meant y."""
    changed = edit.input_node(node)
    order = {other: index for index, other in enumerate(node.graph.nodes)}
    edit.replace_uses(changed, node, keep=lambda user: order[user] <= order[node])
    node.target = _twin(node.target)


def _twin(target: Any) -> Any:
    """The operator without the trailing underscore that takes the same arguments, or None."""
    name = target._schema.name.rpartition("::")[2]
    if target.namespace != "aten" or not name.endswith("_") or name.endswith("__"):
        return None
    twin = getattr(getattr(aten, name[:-1], None), target._overloadname, None)
    return twin if twin is not None and _names(twin) == _names(target) else None


def _names(target: torch._ops.OpOverload) -> list[str]:
    return [argument.name for argument in target._schema.arguments]


def _keeps_type(changed: fx.Node, other: fx.Node) -> bool:
    value, operand = changed.meta["val"], other.meta.get("val")
    return not isinstance(operand, Tensor) or torch.promote_types(value.dtype, operand.dtype) == value.dtype


def _same_memory(start: fx.Node, without: fx.Node) -> set[fx.Node]:
    """Every node whose tensor may share memory with that of ``start``, itself included, not by way of ``without``."""
    found, front = {start}, [start]
    while front:
        node = front.pop()
        near = {*_viewed(node), *(user for user in node.users if node in _viewed(user))} - found - {without}
        found |= near
        front.extend(near)
    return found


def _viewed(node: fx.Node) -> list[fx.Node]:
    """The inputs whose memory a call's result may share."""
    if node.op != "call_function":
        return []
    if not isinstance(node.target, torch._ops.OpOverload) or node.target in _MAY_RETURN_INPUT:
        return node.all_input_nodes  # getitem of a split, or an operator that tells nothing
    schema = node.target._schema
    if not any(result.alias_info is not None for result in schema.returns):
        return []
    shared = {argument.name for argument in schema.arguments if argument.alias_info is not None}
    given = [value for name, value in edit.arguments(node).items() if name in shared]
    return [value for value in given if isinstance(value, fx.Node)]
