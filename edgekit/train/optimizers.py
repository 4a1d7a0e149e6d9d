"""torch's own optimisers, with torch's own meaning of every option."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.options import TrainConfig


def optimizer(graph: Graph, config: TrainConfig, scales: Sequence[nn.Parameter] = ()) -> torch.optim.Optimizer:
    """The optimiser of all parameters. Weight decay acts on every one of them, biases and norms too, as in torch.

    Args:
        graph: whose parameters are trained.
        config: what trains them.
        scales: those among them on which no decay acts, since a smaller step is no simpler net.

    Raises:
        UsageError: the graph has no parameters, such as an integer one.
    """
    apart = {id(scale) for scale in scales}
    weights = [parameter for _, parameter in graph.named_parameters() if id(parameter) not in apart]
    if not weights:
        raise UsageError("the graph has no parameters to train.", fix="Train it before it is lowered to integers.")
    rate, decay = config.learning_rate, config.weight_decay
    parameters: list[dict[str, Any]] = [{"params": weights}]
    if scales:
        parameters.append({"params": list(scales), "weight_decay": 0.0})
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, rate, weight_decay=decay)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, rate, weight_decay=decay)
    return torch.optim.SGD(parameters, rate, config.momentum, weight_decay=decay)
