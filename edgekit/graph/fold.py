"""Batch norm as part of the layer before it, as every integer form and every export for inference wants it."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from edgekit.graph import edit, notes
from edgekit.graph.graph import Graph

aten = torch.ops.aten
LAYERS = (
    aten.conv1d.default, aten.conv2d.default, aten.conv3d.default,
    aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding, aten.linear.default,
)  # fmt: skip


def fold_batch_norm(graph: Graph) -> Graph:
    """Return a copy of ``graph`` with every batch norm behind a convolution or linear in that layer's weight and bias.

    The weight becomes ``w * gamma / sqrt(var + eps)`` per output channel, the bias
    ``(b - mean) * gamma / sqrt(var + eps) + beta`` (Jacob et al. 2018, section 3.2), in float64 and rounded once.
    A batch norm that :func:`why_not_folded` has a reason for stays.
    """
    graph = graph.copy().eval()
    found = [n for n in edit.calls(graph.module) if n.target is aten.batch_norm.default and not why_not_folded(n)]
    for node in found:
        _fold(graph.module, node)
    return graph.refresh() if found else graph


def why_not_folded(norm: fx.Node) -> str:
    """Why a batch norm cannot become part of the layer before it; empty if it can."""
    layer = norm.args[0]
    if not isinstance(layer, fx.Node) or not edit.is_call(layer, *LAYERS):
        return "its input is not a convolution or linear"
    if len(layer.users) > 1:
        return "the layer before it has other users"
    if edit.arguments(norm)["running_mean"] is None:
        return "it has no running statistics"
    if layer.target is aten.linear.default and norm.meta["val"].dim() != 2:
        return "it does not normalise the linear's features"
    parts = edit.arguments(layer)
    if any(parts[name] is not None and parts[name].op != "get_attr" for name in ("weight", "bias")):
        return "the weight or bias of the layer before it is computed, not stored"
    return ""


def _fold(module: fx.GraphModule, norm: fx.Node) -> None:
    layer, parts = edit.input_node(norm), edit.arguments(norm)
    weight_node, bias_node = (edit.arguments(layer)[name] for name in ("weight", "bias"))
    weight = edit.get_tensor(module, weight_node).detach()
    mean, variance = (edit.get_tensor(module, parts[name]).double() for name in ("running_mean", "running_var"))
    gamma = _vector(module, parts["weight"], mean, 1.0)
    beta = _vector(module, parts["bias"], mean, 0.0)
    factor = gamma / torch.sqrt(variance + parts["eps"])
    new_weight = weight.double() * factor.reshape(-1, *[1] * (weight.dim() - 1))
    new_bias = (_vector(module, bias_node, mean, 0.0) - mean) * factor + beta
    path = f"{str(weight_node.target).rpartition('.')[0]}.bias".lstrip(".")
    _store(module, layer, "weight", new_weight.to(weight.dtype), str(weight_node.target))
    _store(module, layer, "bias", new_bias.to(weight.dtype), path if bias_node is None else str(bias_node.target))
    notes.stand_for(layer, norm)
    norm.replace_all_uses_with(layer)


def _store(module: fx.GraphModule, layer: fx.Node, name: str, value: Tensor, path: str) -> None:
    """Give ``layer`` a new weight or bias: under the old name where nobody else reads that, else under one like it."""
    old = edit.arguments(layer)[name]
    if isinstance(old, fx.Node) and _readers(old) == {layer}:
        edit.set_tensor(module, path, nn.Parameter(value))
    else:
        edit.set_argument(layer, name, edit.add_tensor(module, path, nn.Parameter(value), before=layer))


def _readers(stored: fx.Node) -> set[fx.Node]:
    same = [node for node in stored.graph.nodes if node.op == "get_attr" and node.target == stored.target]
    return {user for node in same for user in node.users}


def _vector(module: fx.GraphModule, node: fx.Node | None, like: Tensor, default: float) -> Tensor:
    return torch.full_like(like, default) if node is None else edit.get_tensor(module, node).detach().double()
