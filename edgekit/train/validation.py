"""The loss on held-out items, and what early stopping makes of it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from edgekit.data import Split
from edgekit.graph import Graph
from edgekit.options import TrainConfig
from edgekit.train.distributed import Workers
from edgekit.train.objectives import Objective, Tensors


def as_tuple(result: Tensor | Tensors) -> Tensors:
    """Outputs of a graph, which gives a single one as it is."""
    return (result,) if isinstance(result, Tensor) else tuple(result)


def mean_loss(graph: Graph, split: Split, objective: Objective, size: int, workers: Workers) -> float:
    """Mean over items of a graph in inference mode, in batches of ``size`` that the processes take in turn."""
    sums = torch.zeros((), dtype=torch.float64, device=workers.place)
    with torch.no_grad():
        for start in range(workers.rank * size, len(split), workers.count * size):
            batch = split.take(np.arange(start, min(start + size, len(split))))
            inputs, targets = (
                tuple(torch.from_numpy(array).to(workers.place) for array in arrays)
                for arrays in (batch.inputs, batch.targets)
            )
            sums += objective.loss(as_tuple(graph(*inputs)), targets, inputs).double() * len(batch)
    return float(workers.total(sums)) / len(split)


def best_epoch(losses: list[float], min_change: float) -> int:
    """The epoch, from 0, after which no loss was lower by more than ``min_change``."""
    best = 0
    for epoch, loss in enumerate(losses):
        if loss < losses[best] - min_change:
            best = epoch
    return best


def why_ended(config: TrainConfig, losses: list[float], validation_losses: list[float]) -> str:
    """A sentence once training is over, empty before."""
    stop = config.early_stop
    if stop is not None and validation_losses:
        waited = len(losses) - 1 - best_epoch(validation_losses, stop.min_change)
        if waited >= stop.patience:
            return f"The validation loss had not fallen for {waited} epochs."
    return "All epochs were done." if len(losses) >= config.epochs else ""
