"""One spelling for each meaning, so that prune, quant, fuse and export need not know synonyms.

A rule is a triple (match, check, rewrite): ``match`` names the operators, ``check`` returns why the rule does not apply (or an empty
string), ``rewrite`` edits the node. Rules run once each over all calls, in the order of :data:`RULES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekit.graph import edit
from edgekit.graph.graph import Graph

aten = torch.ops.aten


@dataclass(frozen=True)
class Rule:
    """One synonym and how it is rewritten; ``check`` says why a matching node is left alone."""

    name: str
    match: Callable[[fx.Node], bool]
    check: Callable[[fx.Node], str]
    rewrite: Callable[[fx.Node], None]


def canonicalise(graph: Graph) -> Graph:
    """Rewrite ``graph`` in place to canonical spelling and refresh it."""
    for rule in RULES:
        for node in edit.calls(graph.module):
            if rule.match(node) and not rule.check(node):
                rule.rewrite(node)
    return graph.refresh()


def fold_batch_norm(graph: Graph) -> Graph:
    """A copy of ``graph`` in which every batch norm behind a convolution or linear is part of its weight and bias.

    The weight becomes ``w * gamma / sqrt(var + eps)`` per output channel, the bias ``(b - mean) * gamma / sqrt(var + eps) + beta``
    (Jacob et al. 2018, section 3.2), in float64 and rounded once.
    """
    graph = graph.copy().eval()
    for node in edit.calls(graph.module):
        if node.target is aten.batch_norm.default and not _why_not_folded(node):
            _fold(graph.module, node)
    return graph.refresh()


def _why_not_folded(norm: fx.Node) -> str:
    producer = norm.args[0]
    if not edit.is_call(producer, aten.conv2d.default, aten.linear.default):
        return "its input is not a convolution or linear"
    if len(producer.users) > 1:  # type: ignore[union-attr]
        return "the layer before it has other users"
    if edit.arguments(norm)["running_mean"] is None:
        return "it has no running statistics"
    if edit.is_call(producer, aten.linear.default) and norm.meta["val"].dim() != 2:
        return "it does not normalise the linear's features"
    return ""


def _fold(module: fx.GraphModule, norm: fx.Node) -> None:
    layer, parts = edit.input_node(norm), edit.arguments(norm)
    weight_node = edit.arguments(layer)["weight"]
    weight = edit.get_tensor(module, weight_node).detach().double()
    mean, variance = (edit.get_tensor(module, parts[name]).double() for name in ("running_mean", "running_var"))
    gamma, beta, bias = (_vector(module, node, like=mean, default=d) for node, d in
                         ((parts["weight"], 1.0), (parts["bias"], 0.0), (edit.arguments(layer)["bias"], 0.0)))  # fmt: skip
    factor = gamma / torch.sqrt(variance + parts["eps"])
    path = str(weight_node.target)
    with_rank = factor.reshape(-1, *[1] * (weight.dim() - 1))
    new_weight = edit.add_tensor(module, path, nn.Parameter((weight * with_rank).float()), before=layer)
    new_bias = edit.add_tensor(
        module,
        f"{path.rpartition('.')[0]}.bias".lstrip("."),
        nn.Parameter(((bias - mean) * factor + beta).float()),
        before=layer,
    )
    edit.set_argument(layer, "weight", new_weight)
    edit.set_argument(layer, "bias", new_bias)
    norm.replace_all_uses_with(layer)


def _vector(module: fx.GraphModule, node: fx.Node | None, like: Tensor, default: float) -> Tensor:
    return torch.full_like(like, default) if node is None else edit.get_tensor(module, node).detach().double()


def _in_place(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and _functional(node.target) is not None


def _functional(target: Any) -> Any:
    """The operator without the trailing underscore, where ``target`` has one."""
    name = target._schema.name.rpartition("::")[2]
    if not name.endswith("_") or name.endswith("__") or target.namespace != "aten":
        return None
    return getattr(getattr(aten, name[:-1], None), target._overloadname, None)


def _make_functional(node: fx.Node) -> None:
    """``x.relu_()`` becomes ``y = relu(x)``; whoever read x after it meant y."""
    changed = edit.input_node(node)
    order = {other: index for index, other in enumerate(node.graph.nodes)}
    edit.replace_uses(changed, node, keep=lambda user: order[user] <= order[node])
    node.target = _functional(node.target)


def _view_of_batch(node: fx.Node) -> bool:
    return edit.is_call(node, aten.view.default, aten.reshape.default, aten._unsafe_view.default)


def _not_flatten(node: fx.Node) -> str:
    """Only ``[batch, everything else]`` is a flatten: it then holds no size that pruning would have to edit."""
    value, size = edit.input_node(node).meta["val"], list(node.args[1])  # type: ignore[arg-type]
    if len(size) != 2 or value.dim() < 2:
        return "the result is not [batch, features]"
    batch = size[0].meta["val"] if isinstance(size[0], fx.Node) else size[0]
    return "" if str(batch) == str(value.shape[0]) else "the first dimension is not the batch"


def _to_flatten(node: fx.Node) -> None:
    node.target = aten.flatten.using_ints
    node.args = (node.args[0], 1)


def _to_reshape(node: fx.Node) -> None:
    node.target = aten.reshape.default


def _is_bounded(node: fx.Node) -> bool:
    return edit.is_call(node, aten.hardtanh.default, aten.relu6.default, aten.clamp_min.default, aten.clamp_max.default)


def _to_clamp(node: fx.Node) -> None:
    parts = edit.arguments(node)
    low, high = {
        aten.hardtanh.default: lambda: (parts["min_val"], parts["max_val"]),
        aten.relu6.default: lambda: (0.0, 6.0),
        aten.clamp_min.default: lambda: (parts["min"], None),
        aten.clamp_max.default: lambda: (None, parts["max"]),
    }[node.target]()  # type: ignore[index]
    node.target, node.args, node.kwargs = aten.clamp.default, (node.args[0], low, high), {}


def _is_global_pool(node: fx.Node) -> bool:
    if node.target is aten.adaptive_avg_pool2d.default:
        return all(size == 1 for size in node.args[1])  # type: ignore[union-attr]
    return node.target is aten.mean.dim and node.meta["val"] is not None


def _not_spatial_mean(node: fx.Node) -> str:
    rank = edit.input_node(node).meta["val"].dim()
    if rank != 4:
        return "the input is not an image"
    if node.target is aten.mean.dim and sorted(d % rank for d in edit.arguments(node)["dim"] or []) != [2, 3]:
        return "the mean is not over height and width"
    return ""


def _to_mean(node: fx.Node) -> None:
    keep = node.target is not aten.mean.dim or edit.arguments(node)["keepdim"]
    node.target, node.args, node.kwargs = aten.mean.dim, (node.args[0], [2, 3], True), {}
    if not keep:
        flat = edit.call_after(node, aten.flatten.using_ints, (node, 1))
        edit.replace_uses(node, flat)


def _is_identity(node: fx.Node) -> bool:
    if edit.is_call(node, aten.dropout.default, aten.feature_dropout.default):
        return node.args[1] == 0.0
    if edit.is_call(node, aten.flatten.using_ints):
        return edit.input_node(node).meta["val"].dim() == 2 and edit.arguments(node)["start_dim"] == 1
    return edit.is_call(
        node,
        aten.alias.default,
        aten.detach.default,
        aten.contiguous.default,
        aten.lift_fresh_copy.default,
        aten.clone.default,
    )


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
    node.target, node.kwargs = aten.conv2d.default, {}
    node.args = (
        parts["input"],
        parts["weight"],
        parts["bias"],
        parts["stride"],
        padding,
        parts["dilation"],
        parts["groups"],
    )


def _always(_: fx.Node) -> str:
    return ""


RULES = (
    Rule("in-place to functional", _in_place, _always, _make_functional),
    Rule("named padding", _named_padding, _one_sided, _to_numbers),
    Rule("bounds as clamp", _is_bounded, _always, _to_clamp),
    Rule("global pool as mean", _is_global_pool, _not_spatial_mean, _to_mean),
    Rule("view as flatten", _view_of_batch, _not_flatten, _to_flatten),
    Rule("view as reshape", _view_of_batch, _always, _to_reshape),
    Rule("identities", _is_identity, _always, _bypass),
)
