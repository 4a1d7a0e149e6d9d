"""The training loop: seeded, deterministic for a given number of threads, and short enough to read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from operator import mul
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgekit.data import Split, augment
from edgekit.errors import DataError, UsageError
from edgekit.graph import Graph
from edgekit.options import TrainConfig
from edgekit.train.objectives import CLASSIFICATION, Objective, Tensors

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
    objective: Objective = CLASSIFICATION,
    progress: Progress | None = None,
) -> TrainResult:
    """Train a copy of ``graph`` on a split with SGD or Adam.

    Args:
        graph: a float or fake-quantised graph.
        split: training items with their labels.
        config: epochs, batch size, optimiser, schedule, augmentation.
        seed: of the order of items, of augmentation and of dropout.
        objective: whose loss is minimised.
        progress: called after every step.

    Raises:
        DataError: where there are no items, or the loss stops being finite; names the epoch.
        UsageError: for a graph without parameters, such as an integer one.
    """
    if not len(split):
        raise DataError("the training set is empty.")
    graph, rng = graph.copy().train(), np.random.default_rng(seed)
    starts = _starts(len(split), config.batch_size)
    steps = config.epochs * len(starts)
    optimizer = _optimizer(graph, config)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(config, step, max(steps, 1)))
    losses: list[float] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for epoch in range(config.epochs):
            values, sizes = [], []
            for inputs, targets in _batches(split, starts, config, rng):
                values.append(_step(graph, inputs, targets, objective, optimizer))
                sizes.append(len(inputs[0]))
                schedule.step()
                if progress is not None:
                    progress(epoch * len(starts) + len(values), steps)
            losses.append(sum(map(mul, values, sizes)) / sum(sizes))
            _check_finite(graph, losses[-1], epoch)
    return TrainResult(graph.eval(), TrainReport(tuple(losses)))


def _check_finite(graph: Graph, loss: float, epoch: int) -> None:
    """The weights too: the last step of all is followed by no loss that would show what it did."""
    finite = all(bool(torch.isfinite(value).all()) for value in graph.module.state_dict().values())
    if not math.isfinite(loss) or not finite:
        raise DataError(
            f"the {'weights are' if math.isfinite(loss) else 'loss is'} not finite in epoch {epoch + 1}.",
            fix="Lower the learning rate or check the data.",
        )


def _step(
    graph: Graph, inputs: Tensors, targets: Tensors, objective: Objective, optimizer: torch.optim.Optimizer
) -> float:
    optimizer.zero_grad()
    result = graph(*inputs)
    value = objective.loss((result,) if isinstance(result, Tensor) else tuple(result), targets, inputs)
    value.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(value.detach())


def _optimizer(graph: Graph, config: TrainConfig) -> torch.optim.Optimizer:
    parameters = [parameter for _, parameter in graph.named_parameters()]
    if not parameters:
        raise UsageError("the graph has no parameters to train.", fix="Train it before it is lowered to integers.")
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, rate, weight_decay=decay)
    return torch.optim.SGD(parameters, rate, config.momentum, weight_decay=decay)


def _rate(config: TrainConfig, step: int, steps: int) -> float:
    """Factor on the learning rate: constant, or half a cosine from 1 to 0 (Loshchilov and Hutter 2017)."""
    return 1.0 if config.schedule == "constant" else (1 + math.cos(math.pi * min(step / steps, 1))) / 2


def _starts(items: int, size: int) -> range:
    """Where batches start; a last batch of one item is left out where others are larger: batch norm needs two."""
    alone = items > size and items % size == 1
    return range(0, items - alone, size)


def _batches(
    split: Split, starts: range, config: TrainConfig, rng: np.random.Generator
) -> Iterator[tuple[Tensors, Tensors]]:
    order = rng.permutation(len(split))
    for start in starts:
        batch = split.take(order[start : start + config.batch_size])
        arrays = [augment(array, rng) for array in batch.inputs] if config.augment else batch.inputs
        yield tuple(map(torch.from_numpy, arrays)), tuple(map(torch.from_numpy, batch.targets))
