"""Dropout on attention weights, which capture in inference mode loses: it is read from the module again."""

from __future__ import annotations

import torch
from torch import fx, nn

from edgekit.graph import edit, modes

aten = torch.ops.aten


def restore_dropout(model: nn.Module, module: fx.GraphModule) -> dict[str, float]:
    """Put the dropout of every ``nn.MultiheadAttention`` back; returns that of attention nodes by node name.

    With ``need_weights=True`` the module computes its attention step by step: there the dropout becomes a call of its
    own behind the softmax.
    """
    layers, found = dict(model.named_modules()), {}
    for node in edit.calls(module):
        layer = _layer(layers, node)
        if layer is None or not layer.dropout:
            continue
        if node.target is modes.ATTENTION:
            edit.set_argument(
                node, "dropout_p", 0.0
            )  # a place for it, so that a change of mode and back changes nothing
            found[node.name] = float(layer.dropout)
        elif node.target is aten.softmax.int:
            dropout = edit.call_after(node, aten.dropout.default, (node, float(layer.dropout), False))
            dropout.meta["val"] = node.meta["val"]
            edit.replace_uses(node, dropout)
    return found


def _layer(layers: dict[str, nn.Module], node: fx.Node) -> nn.MultiheadAttention | None:
    """The attention module that a node was captured in."""
    stack = node.meta.get("nn_module_stack")
    layer = layers.get(list(stack.values())[-1][0]) if stack else None
    return layer if isinstance(layer, nn.MultiheadAttention) else None
