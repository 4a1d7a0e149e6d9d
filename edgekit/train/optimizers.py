"""torch's own optimisers, with torch's own meaning of every option."""

from __future__ import annotations

import torch

from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.options import TrainConfig


def optimizer(graph: Graph, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of all parameters. Weight decay acts on every one of them, biases and norms too, as in torch.

    Raises:
        UsageError: the graph has no parameters, such as an integer one.
    """
    parameters = [parameter for _, parameter in graph.named_parameters()]
    if not parameters:
        raise UsageError("the graph has no parameters to train.", fix="Train it before it is lowered to integers.")
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, rate, weight_decay=decay)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, rate, weight_decay=decay)
    return torch.optim.SGD(parameters, rate, config.momentum, weight_decay=decay)
