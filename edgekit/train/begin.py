"""What a training starts from: an assignment whose parts fit, random numbers of its own, and a state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from edgekit.data import Split
from edgekit.errors import DataError, UsageError
from edgekit.graph import Graph
from edgekit.options import DistillConfig, QatConfig, RecoverConfig, TrainConfig
from edgekit.train import checkpoint, distributed, placement, precision, step_sizes
from edgekit.train.distill import lesson
from edgekit.train.distributed import Workers
from edgekit.train.losses import Loss
from edgekit.train.objectives import Objective
from edgekit.train.optimizers import optimizer
from edgekit.train.state import State
from edgekit.train.validation import mean_loss
from edgekit.train.views import view

Penalty = Callable[[Graph], torch.Tensor]
PROBED = 8  # items by whose loss a loss function is known


@dataclass(frozen=True)
class Assignment:
    """What is asked of a training; the attributes are the arguments of :func:`edgekit.train.train`."""

    graph: Graph
    split: Split
    config: TrainConfig
    seed: int
    objective: Objective
    validation: Split | None
    teacher: Graph | None
    penalty: Penalty | None = None

    @property
    def distill(self) -> DistillConfig | None:
        """The options of distillation, where it is asked for."""
        return self.config.distill if isinstance(self.config, RecoverConfig) else None

    @property
    def learns_scale(self) -> bool:
        """Whether scales are trained, too."""
        return isinstance(self.config, QatConfig) and self.config.learn_scale

    def check(self, place: torch.device) -> None:
        """Refuse what cannot be carried out.

        Raises:
            DataError, UsageError, UnsupportedError: as :func:`edgekit.train.train`.
        """
        if not self.split:
            raise DataError("the training set is empty.")
        if self.config.early_stop is not None and not self.validation:
            raise UsageError("early stop watches validation items, and there are none.", fix="Give `validation`.")
        if (self.distill is None) != (self.teacher is None):
            raise UsageError("distillation needs both the option `distill` and a `teacher`.", fix="Give both or none.")
        if self.learns_scale and not step_sizes.paths(self.graph):
            raise UsageError("`learn_scale` finds no scale that may be learned.", fix="Quantise the graph first.")
        precision.check(self.config.precision, place, self.graph)

    def identity(self, workers: Workers) -> str:
        """A hash of everything that decides the outcome; a loss is known by what it says before any training."""
        few = self.split.take(np.arange(min(len(self.split), PROBED)))
        untrained = placement.move(self.graph.copy().eval(), workers.place)
        return checkpoint.identify(
            (self.graph, self.teacher),
            (self.split, self.validation),
            config=self.config.model_dump(mode="json"),
            seed=self.seed,
            loss=f"{mean_loss(untrained, few, self.objective, PROBED, Workers(workers.place)):.4g}",
            device=workers.place.type,
            processes=workers.count,
        )


@dataclass(frozen=True)
class Training:
    """A training under way: what stays the same, and the state, which does not.

    Attributes:
        assignment: what is asked.
        state: what changes.
        view: of the state's graph, in training mode.
        loss: the objective's, or that of a distillation.
        workers: the processes that take part.
    """

    assignment: Assignment
    state: State
    view: Graph
    loss: Loss
    workers: Workers

    @property
    def config(self) -> TrainConfig:
        """The options."""
        return self.assignment.config


def begin(assignment: Assignment, workers: Workers) -> Training:
    """Copy the graph to its device and set up what trains it; errors as :func:`edgekit.train.train`."""
    config, place, distill = assignment.config, workers.place, assignment.distill
    graph = placement.move(assignment.graph.copy().eval(), place)
    scaler, order = precision.scaler(config.precision, place), np.random.default_rng(assignment.seed)
    scales = step_sizes.learn(graph) if assignment.learns_scale else []
    trained = optimizer(graph, config, scales)
    step_sizes.keep_positive(trained, scales)
    state = State(graph, trained, scaler, order)
    if distill is None or assignment.teacher is None:
        return Training(assignment, state, view(graph).train(), assignment.objective.loss, workers)
    loss = lesson(assignment.teacher, assignment.graph, assignment.objective, distill, place).loss
    return Training(assignment, state, view(graph, distill.features).train(), loss, workers)


@contextmanager
def session(place: torch.device, seed: int) -> Iterator[Workers]:
    """A stream of random numbers for each process; the caller's own go on afterwards as if nothing had been."""
    workers = distributed.join(place)
    with (
        torch.random.fork_rng([place.index] if place.type == "cuda" else []),
        torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, deterministic=True),
    ):
        torch.manual_seed(seed + (workers.rank << 32))
        yield workers
