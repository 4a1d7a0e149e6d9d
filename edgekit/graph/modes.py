"""Training and inference: which argument of which operator says so, once a model is a graph of calls."""

from __future__ import annotations

import torch
from torch import fx

from edgekit.graph import edit

aten = torch.ops.aten

MODE_ARGUMENT: dict[object, str] = {
    aten.batch_norm.default: "training",
    aten.dropout.default: "train",
    aten.feature_dropout.default: "train",
    aten.alpha_dropout.default: "train",
    aten.feature_alpha_dropout.default: "train",
    aten.rrelu.default: "training",
    aten.instance_norm.default: "use_input_stats",
    aten.gru.input: "train",
    aten.lstm.input: "train",
    aten.rnn_tanh.input: "train",
    aten.rnn_relu.input: "train",
}
DROPOUTS = (
    aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default, aten.feature_alpha_dropout.default,
)  # fmt: skip
ATTENTION = aten.scaled_dot_product_attention.default


def switch(module: fx.GraphModule, training: bool, attention_dropout: dict[str, float]) -> None:
    """Set the mode argument of every call that has one, as ``nn.Module.train`` would have."""
    for node in edit.calls(module):
        if node.target in MODE_ARGUMENT and not _always_own_statistics(node):
            edit.set_argument(node, MODE_ARGUMENT[node.target], training)
        elif node.target is ATTENTION and node.name in attention_dropout:
            edit.set_argument(node, "dropout_p", attention_dropout[node.name] if training else 0.0)
    module.training = training
    module.recompile()


def is_dropout(node: fx.Node) -> bool:
    """Whether a call is dropout of some kind."""
    return node.target in DROPOUTS


def is_training(node: fx.Node) -> bool:
    """Whether a call that has a mode stands in training mode."""
    return bool(edit.arguments(node)[MODE_ARGUMENT[node.target]])


def _always_own_statistics(node: fx.Node) -> bool:
    """Batch or instance norm without running statistics uses those of its input in both modes."""
    arguments = edit.arguments(node)
    return "running_mean" in arguments and arguments["running_mean"] is None
