"""The training loop: seeded, deterministic for a given number of threads, and short enough to read."""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import mul
from pathlib import Path

import torch
from torch import Tensor

from edgekit.data import Split
from edgekit.errors import DataError
from edgekit.graph import Graph
from edgekit.options import TrainConfig
from edgekit.train import checkpoint as checkpoints
from edgekit.train import placement, precision, step_sizes
from edgekit.train.batches import Batch, batches, starts
from edgekit.train.begin import Assignment, Penalty, Training, begin, session
from edgekit.train.objectives import CLASSIFICATION, Objective
from edgekit.train.report import TrainReport, TrainResult
from edgekit.train.schedule import learning_rate
from edgekit.train.state import State
from edgekit.train.validation import as_tuple, best_epoch, mean_loss, why_ended

Progress = Callable[[int, int], None]  # steps done, steps in all


def train(
    graph: Graph,
    split: Split,
    config: TrainConfig,
    seed: int,
    *,
    objective: Objective = CLASSIFICATION,
    validation: Split | None = None,
    teacher: Graph | None = None,
    penalty: Penalty | None = None,
    checkpoint: Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> TrainResult:
    """Train a copy of ``graph`` on a split; under ``torchrun`` together with the other processes.

    Args:
        graph: a float or fake-quantised graph.
        split: training items with their targets.
        config: what to do; a ``RecoverConfig`` may ask for distillation, a ``QatConfig`` for learned scales.
        seed: of the order of items, of augmentation and of dropout.
        objective: whose loss is minimised; a mean over items.
        validation: items whose loss is reported after every epoch, and which early stop watches.
        teacher: that distillation learns from.
        penalty: a function of the graph that is trained; its value is added to the loss of every step.
        checkpoint: a directory of its own for exact resume, removed when training is done; none by default.
        device: ``cpu``, ``cuda`` or ``auto``; the result is on the CPU.
        progress: called after every step.

    Raises:
        DataError: where there are no items, or the loss stops being finite; names the epoch.
        UsageError: for a graph without parameters, early stop without ``validation``, or a teacher that does not fit.
        UnsupportedError: a device or precision that is not there.
        OutputError: the checkpoint's directory cannot be used.
        DeviceError: another process was lost.
    """
    place = placement.choose(device)
    assignment = Assignment(graph, split, config, seed, objective, validation, teacher, penalty)
    assignment.check(place)
    with session(place, seed) as workers:
        run = begin(assignment, workers)
        key = assignment.identity(workers) if checkpoint or workers.count > 1 else ""
        workers.agree(key)
        with checkpoints.keep(checkpoint, key, workers) as saved:
            saved.resume(run.state)
            while not (ended := why_ended(config, run.state.losses, run.state.validation_losses)):
                _epoch(run, progress if workers.leads else None)
                _validate(run)
                saved.write(run.state)
    return _result(run, ended)


def _epoch(run: Training, progress: Progress | None) -> None:
    state, config, split = run.state, run.config, run.assignment.split
    count = len(starts(len(split), config.batch_size))
    values, sizes, rate = [], [], config.learning_rate
    for step, batch in enumerate(batches(split, config, state.order, run.workers), state.epoch * count):
        rate = learning_rate(config, step, count)
        values.append(_step(run, batch, rate))
        sizes.append(batch.items)
        if progress is not None:
            progress(step + 1, config.epochs * count)
    run.workers.even_out(state.graph.module)
    losses = torch.stack(values).tolist()  # waits for the device once an epoch, not at every step
    state.losses.append(sum(map(mul, losses, sizes)) / sum(sizes))
    state.learning_rates.append(rate)
    _check_finite(state)


def _step(run: Training, batch: Batch, rate: float) -> Tensor:
    optimizer, scaler, parameters = run.state.optimizer, run.state.scaler, run.state.parameters
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss = _forward(run, batch) if batch.weight else torch.zeros((), device=run.workers.place)
    scaled = scaler.scale(loss)
    if batch.weight:
        scaled.backward()  # type: ignore[no-untyped-call]
    loss = run.workers.average(parameters, loss.detach(), batch.weight)
    if run.config.clip_norm is not None:
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(parameters, run.config.clip_norm)
    scaler.step(optimizer)
    scaler.update()
    return loss


def _forward(run: Training, batch: Batch) -> Tensor:
    with precision.forward(run.config.precision, run.workers.place):
        results = as_tuple(run.view(*batch.inputs))
    loss = run.loss(precision.widened(results), batch.targets, batch.inputs)
    penalty = run.assignment.penalty
    return loss if penalty is None else loss + penalty(run.state.graph)


def _validate(run: Training) -> None:
    state, stop, split = run.state, run.config.early_stop, run.assignment.validation
    if not split:
        return
    loss = mean_loss(state.graph, split, run.assignment.objective, run.config.batch_size, run.workers)
    if not math.isfinite(loss):
        raise DataError(f"the validation loss is not finite in epoch {state.epoch}.", fix="Check the validation items.")
    state.validation_losses.append(loss)
    if stop is not None and best_epoch(state.validation_losses, stop.min_change) == state.epoch - 1:
        state.best = state.weights()


def _check_finite(state: State) -> None:
    """The weights too: the last step of all is followed by no loss that would show what it did."""
    loss = state.losses[-1]
    finite = all(bool(torch.isfinite(value).all()) for value in state.graph.module.state_dict().values())
    if not math.isfinite(loss) or not finite:
        raise DataError(
            f"the {'weights are' if math.isfinite(loss) else 'loss is'} not finite in epoch {state.epoch}.",
            fix="Lower the learning rate or check the data.",
        )


def _result(run: Training, ended: str) -> TrainResult:
    state, stop, best = run.state, run.config.early_stop, None
    if stop is not None and state.validation_losses:
        best = best_epoch(state.validation_losses, stop.min_change) + 1
        state.set_weights(state.best)
    series = (tuple(state.losses), tuple(state.validation_losses), tuple(state.learning_rates))
    report = TrainReport(*series, best, ended, run.config.precision, run.workers.count)
    return TrainResult(placement.move(step_sizes.settle(state.graph), placement.CPU), report)
