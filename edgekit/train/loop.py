"""The training loop: seeded, deterministic for a given number of threads, and short enough to read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgekit.data import Split, augment
from edgekit.errors import DataError
from edgekit.graph import Graph
from edgekit.recipe import TrainConfig

Loss = Callable[[Tensor, Tensor], Tensor]
Progress = Callable[[int, int], None]  # steps done, steps in all


@dataclass(frozen=True)
class TrainReport:
    """Mean training loss of every epoch, in order."""

    losses: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class TrainResult:
    """The trained graph, in inference mode, and the report on it."""

    graph: Graph
    report: TrainReport


def train(
    graph: Graph,
    split: Split,
    config: TrainConfig,
    seed: int,
    *,
    loss: Loss = torch.nn.functional.cross_entropy,
    progress: Progress = lambda done, total: None,
) -> TrainResult:
    """Train a copy of ``graph`` on a split with SGD or Adam.

    Args:
        graph: a float or fake-quantised graph.
        split: training items with their labels.
        config: epochs, batch size, optimiser, schedule, augmentation.
        seed: of the order of items, of augmentation and of dropout.
        loss: of (first output, labels).
        progress: called after every step.

    Raises:
        DataError: where the loss stops being finite; names the epoch.
    """
    graph = graph.copy().train()
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    steps = config.epochs * len(_starts(len(split), config.batch_size))
    optimizer = _optimizer(graph, config)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(config, step, max(steps, 1)))
    losses, done = [], 0
    for epoch in range(config.epochs):
        total = 0.0
        for inputs, targets in _batches(split, config, rng):
            value = _step(graph, inputs, targets, loss, optimizer)
            schedule.step()
            total, done = total + value * len(targets), done + 1
            progress(done, steps)
        losses.append(total / len(split))
        if not math.isfinite(total):
            raise DataError(f"the loss is not finite in epoch {epoch + 1}.", fix="Lower the learning rate or check the data.")
    return TrainResult(graph.eval(), TrainReport(tuple(losses)))


def _step(graph: Graph, inputs: list[Tensor], targets: Tensor, loss: Loss, optimizer: torch.optim.Optimizer) -> float:
    optimizer.zero_grad()
    result = graph(*inputs)
    value = loss(result if isinstance(result, Tensor) else result[0], targets)
    value.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(value.detach())


def _optimizer(graph: Graph, config: TrainConfig) -> torch.optim.Optimizer:
    parameters = [parameter for _, parameter in graph.named_parameters()]
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, rate, weight_decay=decay)
    return torch.optim.SGD(parameters, rate, config.momentum, weight_decay=decay)


def _rate(config: TrainConfig, step: int, steps: int) -> float:
    """Factor on the learning rate: constant, or half a cosine from 1 to 0 (Loshchilov and Hutter 2017)."""
    return 1.0 if config.schedule == "constant" else (1 + math.cos(math.pi * min(step / steps, 1))) / 2


def _starts(items: int, size: int) -> range:
    """Where batches start; a last batch of one item is left out, since batch norm needs two."""
    return range(0, items - 1, size)


def _batches(split: Split, config: TrainConfig, rng: np.random.Generator) -> Iterator[tuple[list[Tensor], Tensor]]:
    order = rng.permutation(len(split))
    for start in _starts(len(split), config.batch_size):
        batch = split.take(order[start : start + config.batch_size])
        arrays = [augment(array, rng) for array in batch.inputs] if config.augment else batch.inputs
        yield [torch.from_numpy(array) for array in arrays], torch.from_numpy(batch.targets)
