"""Calls that give back what they get."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from edgekit.graph import edit
from edgekit.graph.canonical.rule import Rule, become, bypass
from edgekit.graph.graph import Graph

aten = torch.ops.aten
_COPIES = (aten.contiguous.default, aten.clone.default, aten.lift_fresh_copy.default)
_KEEP_ORDER = (aten.slice.Tensor, aten.reshape.default, aten.expand.default, aten.expand_as.default)
_READ_LAYOUT = (aten.as_strided.default, aten.view.dtype, aten.view_as_complex.default, aten.view_as_real.default)
_CASTS = (
    aten.to.dtype, aten.to.device, aten.to.dtype_layout, aten.to.other, aten.type_as.default, aten._to_copy.default,
)  # fmt: skip


def _is_identity(node: fx.Node) -> bool:
    if edit.is_call(node, aten.dropout.default, aten.feature_dropout.default):
        return bool(edit.arguments(node)["p"] == 0.0)
    if edit.is_call(node, aten.flatten.using_ints):
        return bool(edit.input_node(node).meta["val"].dim() == 2 and edit.arguments(node)["start_dim"] == 1)
    if edit.is_call(node, aten.mul.Tensor, aten.div.Tensor) and node.args[1] == 1:
        return bool(edit.input_node(node).meta["val"].dtype == node.meta["val"].dtype)
    if edit.is_call(node, *_KEEP_ORDER):
        before, after = edit.input_node(node).meta["val"], node.meta["val"]
        return [str(size) for size in before.shape] == [str(size) for size in after.shape]
    return edit.is_call(node, aten.alias.default, aten.detach.default, *_COPIES) or _is_idle_cast(node)


def _is_idle_cast(node: fx.Node) -> bool:
    if not edit.is_call(node, *_CASTS):
        return False
    before, after = edit.input_node(node).meta["val"], node.meta["val"]
    return bool(before.dtype == after.dtype and before.device == after.device)


def _copy_matters(node: fx.Node) -> str:
    if edit.is_call(node, aten.detach.default) and _trains(edit.input_node(node)):
        return "it stops the gradient"
    calls = [other.target for other in node.graph.nodes if other.op == "call_function"]
    if any(isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable for target in calls):
        return "the graph writes into memory, which may be that of the copy"
    if node.target in _COPIES and any(target in _READ_LAYOUT for target in calls):
        return "an operator reads the layout of the memory"
    return ""


def _trains(node: fx.Node) -> bool:
    """Whether a gradient may flow into a node: all but constants."""
    return node.op != "get_attr" or edit.get_tensor(_module(node), node).requires_grad


def _module(node: fx.Node) -> fx.GraphModule:
    module = node.graph.owning_module
    assert module is not None
    return module


def _is_cast(node: fx.Node) -> bool:
    return edit.is_call(node, *_CASTS) and node.target is not aten.to.dtype


def _moves(node: fx.Node) -> str:
    before, after = edit.input_node(node).meta["val"], node.meta["val"]
    if edit.arguments(node).get("memory_format") is not None:
        return "it sets the layout of the memory"
    return "" if before.device == after.device else "it moves the tensor to another device"


def _to_dtype(_: Graph, node: fx.Node) -> None:
    value: Any = node.meta["val"]
    assert isinstance(value, Tensor)
    become(node, aten.to.dtype, node.args[0], value.dtype)


IDENTITIES = Rule("identities", _is_identity, _copy_matters, bypass)
RULES = (IDENTITIES, Rule("casts by type", _is_cast, _moves, _to_dtype))
