"""One spelling for each meaning, so that prune, quant, fuse and export need not know synonyms.

A rule is a triple (match, check, rewrite): ``match`` names the operators, ``check`` returns why the rule does not apply
(or an empty string), ``rewrite`` edits the node. Rules run once each over all calls, in the order of :data:`RULES`.
Outputs keep their bits, gradients too but for one corner: where an input lies exactly on a bound, ``clamp`` passes the
gradient that ``relu6`` and ``hardtanh`` stop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from edgekit.graph import edit, inplace
from edgekit.graph.fold import fold_batch_norm
from edgekit.graph.graph import Graph, propagate_shapes

__all__ = ["RULES", "Rule", "canonicalise", "fold_batch_norm"]

aten = torch.ops.aten
_COPIES = (aten.contiguous.default, aten.clone.default, aten.lift_fresh_copy.default)
_READ_LAYOUT = (aten.as_strided.default, aten.view.dtype, aten.view_as_complex.default, aten.view_as_real.default)


@dataclass(frozen=True)
class Rule:
    """One synonym and how it is rewritten.

    Attributes:
        name: for people.
        match: whether a call is of the rule's kind.
        check: why a matching call is left alone; empty if it is not.
        rewrite: edits the call.
        reshapes: whether the rewriting changes a call's shape or adds calls, so that shapes have to be made anew.
    """

    name: str
    match: Callable[[fx.Node], bool]
    check: Callable[[fx.Node], str]
    rewrite: Callable[[fx.Node], None]
    reshapes: bool = False


def canonicalise(graph: Graph) -> Graph:
    """Rewrite ``graph`` in place to canonical spelling and refresh it."""
    for rule in RULES:
        if _apply(rule, graph.module) and rule.reshapes:
            propagate_shapes(graph)  # the next rule asks for shapes
    return graph.refresh()


def _apply(rule: Rule, module: fx.GraphModule) -> bool:
    fired = False
    for node in edit.calls(module):
        if rule.match(node) and not rule.check(node):
            rule.rewrite(node)
            fired = True
    return fired


def _view_of_batch(node: fx.Node) -> bool:
    return edit.is_call(node, aten.view.default, aten.reshape.default, aten._unsafe_view.default)


def _not_flatten(node: fx.Node) -> str:
    """Only ``[batch, everything else]`` is a flatten: it then holds no size that pruning would have to edit."""
    value, size = edit.input_node(node).meta["val"], edit.arguments(node)
    wanted: list[Any] = list(size["shape"] if "shape" in size else size["size"])
    if len(wanted) != 2 or value.dim() < 2:
        return "the result is not [batch, features]"
    batch = wanted[0].meta["val"] if isinstance(wanted[0], fx.Node) else wanted[0]
    return "" if str(batch) == str(value.shape[0]) else "the first dimension is not the batch"


def _to_flatten(node: fx.Node) -> None:
    node.target = aten.flatten.using_ints
    node.args = (node.args[0], 1)


def _to_reshape(node: fx.Node) -> None:
    node.target = aten.reshape.default


def _is_bounded(node: fx.Node) -> bool:
    return node.target in _BOUNDS


_BOUNDS: dict[Any, Callable[[dict[str, Any]], tuple[Any, Any]]] = {
    aten.hardtanh.default: lambda parts: (parts["min_val"], parts["max_val"]),
    aten.relu6.default: lambda _: (0.0, 6.0),
    aten.clamp_min.default: lambda parts: (parts["min"], None),
    aten.clamp_max.default: lambda parts: (None, parts["max"]),
}


def _to_clamp(node: fx.Node) -> None:
    low, high = _BOUNDS[node.target](edit.arguments(node))
    node.target, node.args, node.kwargs = aten.clamp.default, (node.args[0], low, high), {}


def _is_global_pool(node: fx.Node) -> bool:
    if node.target is aten.adaptive_avg_pool2d.default:
        return list(edit.arguments(node)["output_size"]) == [1, 1]
    return node.target is aten.mean.dim


def _not_spatial_mean(node: fx.Node) -> str:
    rank = edit.input_node(node).meta["val"].dim()
    if rank != 4:
        return "the input is not an image"
    if node.target is aten.mean.dim:
        parts = edit.arguments(node)
        if sorted(d % rank for d in parts["dim"] or []) != [2, 3]:
            return "the mean is not over height and width"
        if parts["dtype"] is not None:
            return "the mean changes the type"
    return ""


def _to_mean(node: fx.Node) -> None:
    keep = node.target is not aten.mean.dim or edit.arguments(node)["keepdim"]
    node.target, node.args, node.kwargs = aten.mean.dim, (node.args[0], [2, 3], True), {}
    if not keep:
        flat = edit.call_after(node, aten.flatten.using_ints, (node, 1))
        edit.replace_uses(node, flat)


def _is_identity(node: fx.Node) -> bool:
    if edit.is_call(node, aten.dropout.default, aten.feature_dropout.default):
        return bool(edit.arguments(node)["p"] == 0.0)
    if edit.is_call(node, aten.flatten.using_ints):
        return bool(edit.input_node(node).meta["val"].dim() == 2 and edit.arguments(node)["start_dim"] == 1)
    return edit.is_call(node, aten.alias.default, aten.detach.default, *_COPIES)


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


def _bypass(node: fx.Node) -> None:
    node.replace_all_uses_with(edit.input_node(node))


def _named_padding(node: fx.Node) -> bool:
    return node.target is aten.conv2d.padding


def _one_sided(node: fx.Node) -> str:
    parts = edit.arguments(node)
    kernel = parts["weight"].meta["val"].shape[2:]
    odd = all((k - 1) * d % 2 == 0 for k, d in zip(kernel, parts["dilation"], strict=True))
    return "" if odd or parts["padding"] == "valid" else "an even kernel pads one side more"


def _to_numbers(node: fx.Node) -> None:
    parts = edit.arguments(node)
    kernel = parts["weight"].meta["val"].shape[2:]
    same = [(k - 1) * d // 2 for k, d in zip(kernel, parts["dilation"], strict=True)]
    padding = [0, 0] if parts["padding"] == "valid" else same
    operands = (parts["input"], parts["weight"], parts["bias"])
    node.target, node.kwargs = aten.conv2d.default, {}
    node.args = (*operands, parts["stride"], padding, parts["dilation"], parts["groups"])


def _always(_: fx.Node) -> str:
    return ""


RULES = (
    Rule("in-place to functional", inplace.is_in_place, inplace.why_not_functional, inplace.make_functional),
    Rule("named padding", _named_padding, _one_sided, _to_numbers),
    Rule("bounds as clamp", _is_bounded, _always, _to_clamp),
    Rule("global pool as mean", _is_global_pool, _not_spatial_mean, _to_mean, reshapes=True),
    Rule("view as flatten", _view_of_batch, _not_flatten, _to_flatten),
    Rule("view as reshape", _view_of_batch, _always, _to_reshape),
    Rule("identities", _is_identity, _copy_matters, _bypass),
)
