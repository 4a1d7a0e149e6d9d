"""Everything that changes while a graph is trained, and its form on the disk: tensors and plain JSON values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgekit.graph import Graph

Document = dict[str, Any]
LISTS = ("losses", "validation_losses", "learning_rates")


@dataclass
class State:
    """A training between two epochs.

    Attributes:
        graph: whose weights are trained; in inference mode, on the device of the training.
        optimizer: with its moments.
        scaler: of float16 gradients.
        order: draws the order of items and their augmentation.
        losses, validation_losses, learning_rates: one for each epoch so far.
        best: the weights of the best epoch; empty where none is kept.
    """

    graph: Graph
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    order: np.random.Generator
    losses: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.losses)

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """What the optimiser changes, in its order."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def weights(self) -> dict[str, Tensor]:
        """A copy of all parameters and buffers."""
        return {name: _copy(value) for name, value in self.graph.module.state_dict().items()}

    def set_weights(self, weights: dict[str, Tensor]) -> None:
        """Set all parameters and buffers."""
        self.graph.module.load_state_dict(weights)

    def pack(self) -> tuple[dict[str, Tensor], Document]:
        """All of it but torch's own random numbers, which belong to the process."""
        tensors = {f"weights.{name}": value for name, value in self.weights().items()}
        tensors |= {f"best.{name}": _copy(value) for name, value in self.best.items()}
        numbers: Document = {}
        for name, value in self._moments():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{name}"] = _copy(value)
            else:
                numbers[name] = value
        lists = {name: getattr(self, name) for name in LISTS}
        order = self.order.bit_generator.state
        return tensors, {**lists, "optimizer": numbers, "scaler": self.scaler.state_dict(), "order": order}

    def unpack(self, tensors: dict[str, Tensor], document: Document) -> None:
        """Become what :meth:`pack` packed.

        Raises:
            KeyError, ValueError, TypeError, RuntimeError: it is not what :meth:`pack` packed of such a graph.
        """
        self.set_weights(_below("weights", tensors))
        self.best = {name: value.to(self.parameters[0].device) for name, value in _below("best", tensors).items()}
        moments: dict[int, dict[str, Any]] = {}
        for name, value in (_below("optimizer", tensors) | document["optimizer"]).items():
            index, _, key = name.partition(".")
            moments.setdefault(int(index), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.scaler.load_state_dict(document["scaler"])
        self.order.bit_generator.state = document["order"]
        for name in LISTS:
            setattr(self, name, [float(value) for value in document[name]])

    def _moments(self) -> Iterator[tuple[str, Any]]:
        for index, values in self.optimizer.state_dict()["state"].items():
            for key, value in values.items():
                yield f"{index}.{key}", value


def _copy(value: Tensor) -> Tensor:
    """Alone in its memory, as safetensors wants it."""
    return value.detach().clone(memory_format=torch.contiguous_format)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
