"""What training minimises and what a held-out set is judged by, for each kind of task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgekit.data import Split
from edgekit.train.metrics import Run, accuracy

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Objective:
    """A task's loss and metrics.

    Attributes:
        loss: of (outputs, targets, inputs), each a tuple of tensors; a scalar.
        metrics: by name, the first one decides; of (run, split).
    """

    loss: Callable[[Tensors, Tensors, Tensors], Tensor]
    metrics: dict[str, Callable[[Run, Split], float]]

    def measure(self, run: Run, split: Split) -> dict[str, float]:
        """Every metric on a held-out set."""
        return {name: float(np.float64(metric(run, split))) for name, metric in self.metrics.items()}


def _cross_entropy(outputs: Tensors, targets: Tensors, _: Tensors) -> Tensor:
    return torch.nn.functional.cross_entropy(outputs[0], targets[0])


CLASSIFICATION = Objective(_cross_entropy, {"accuracy": accuracy})
