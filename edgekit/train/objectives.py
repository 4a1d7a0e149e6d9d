"""What training minimises and what a held-out set is judged by, for each kind of task.

Outputs; then targets, of N items. Scores are logits, before any softmax or sigmoid; a label of -1, as any negative one,
says that there is none. The names of losses are in ``losses.py``, those of metrics in ``metrics.py``.

- classification: scores [N, C]; int64 [N]. With ``binary_cross_entropy`` one score [N] or [N, 1], for classes 0 and 1.
- regression: values [N] or [N, k]; float32 of as many values.
- segmentation: scores [N, C, H, W]; int64 [N, H, W].
- detection, of A anchors: scores [N, A, C + 1] and boxes [N, A, 4]; int64 [N, A] and float32 [N, A, 4]. Class 0 is
  background; a box is (x1, y1, x2, y2) in any unit and counts where the class is positive.
- sequence_labelling: scores [N, T, C]; int64 [N, T].
- reconstruction: the input again, [N, ...]; int64 [N], 1 is an anomaly. Behind a preprocessing there are two outputs,
  the reconstruction and the features that it is of, and the input is not looked at.
- custom: whatever the loss and the metrics, which are the user's, make of it.

A loss of the user's own is called with (output, target), tensors or tuples of them where there are several, and with
the recipe's ``args`` as keywords; a class is made from ``args`` first. A metric is called alike, on the whole held-out
set, and says by an attribute what is good: ``mape.better = "lower"``; ``mape.unit = "share"`` shows it in percent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgekit import userfile
from edgekit.data import Split
from edgekit.errors import RecipeError, did_you_mean
from edgekit.options import TaskConfig, UserObject
from edgekit.train.losses import LOSSES, Loss, Tensors
from edgekit.train.metrics import TABLE, Arrays, Measured, Metric, Run, measure

__all__ = ["CLASSIFICATION", "Objective", "Tensors", "objective"]

DEFAULTS = {
    "classification": ("accuracy",),
    "regression": ("mse", "mae", "r2"),
    "segmentation": ("iou", "accuracy"),
    "detection": ("f1", "iou", "accuracy"),
    "sequence_labelling": ("accuracy", "f1"),
    "reconstruction": ("auc", "error"),
}


@dataclass(frozen=True)
class Objective:
    """A task's loss and metrics.

    Attributes:
        loss: of (outputs, targets, inputs), each a tuple of tensors; a scalar.
        metrics: by name, the first one decides.
        kind: of the task.
    """

    loss: Loss
    metrics: dict[str, Metric]
    kind: str = "classification"

    @property
    def primary(self) -> Metric:
        """The metric that decides."""
        return next(iter(self.metrics.values()))

    def measure(self, run: Run, split: Split) -> Measured:
        """Every metric on a held-out set."""
        return measure(run, split, self.metrics, self.kind)

    def to_json(self) -> dict[str, Any]:
        """What the task is, as ``results.json`` says it."""
        metrics = {m.name: {"better": m.better, "unit": m.unit, "spoken": m.spoken} for m in self.metrics.values()}
        return {"kind": self.kind, "primary": self.primary.name, "metrics": metrics}


def objective(task: TaskConfig, base: Path | None, classes: int) -> Objective:
    """Find a task's loss and metrics by their names, or in the user's files, which are run.

    Args:
        task: the recipe's ``task``.
        base: the folder in which a relative path starts.
        classes: how many labels the data has, where it has any.

    Raises:
        RecipeError: an unknown name, a loss that does not suit the data, or a file that cannot be used.
        MissingDependency: a metric needs torchmetrics, which is not installed.
    """
    loss = task.loss if task.loss is not None else next(iter(LOSSES[task.kind]), None)
    if loss == "binary_cross_entropy" and classes > 2:
        raise RecipeError(
            f"task.loss: binary_cross_entropy is for two classes, the data has {classes}.", fix="Use cross_entropy."
        )
    metrics = [_metric(metric, task.kind, base) for metric in task.metrics or DEFAULTS.get(task.kind, ())]
    if loss is None or not metrics:
        raise RecipeError(
            f"task.{'loss' if loss is None else 'metrics'}: a {task.kind} task has none of its own.",
            fix="Name a function of yours: {file: mine.py, object: name}.",
        )
    for metric in metrics:
        metric.tally(task.kind)  # torchmetrics is looked for now, not after the training
    return Objective(_loss(loss, task.kind, base), {metric.name: metric for metric in metrics}, task.kind)


def _loss(loss: str | UserObject, kind: str, base: Path | None) -> Loss:
    if isinstance(loss, str):
        return LOSSES[kind][_known("loss", loss, LOSSES[kind], kind)]
    call = _user(loss, base)
    return lambda outputs, targets, _: call(_one(outputs), _one(targets))


def _metric(metric: str | UserObject, kind: str, base: Path | None) -> Metric:
    if isinstance(metric, str):
        suitable = {row.name: row for row in TABLE if kind in row.kinds}
        return suitable[_known("metrics", metric, suitable, kind)]
    found, what = userfile.find(metric.file, metric.object, base, RecipeError)
    better, unit = getattr(found, "better", None), getattr(found, "unit", "value")
    if better not in ("higher", "lower") or unit not in ("share", "value"):
        raise RecipeError(
            f"{what} does not say whether higher or lower values are better.",
            fix=f'Add the line `{metric.object}.better = "lower"` (or "higher") below it; '
            f'`{metric.object}.unit = "share"` shows it in percent.',
        )
    call = _user(metric, base)
    return Metric(metric.object, metric.object, better, unit, (kind,), lambda _: _Own(call))  # type: ignore[arg-type]


def _known(key: str, name: str, known: Iterable[str], kind: str) -> str:
    names = list(known)
    if name not in names:
        listed = f"It has: {', '.join(names)}." if names else "It has none of its own."
        raise RecipeError(
            f"task.{key}: {name!r} is none of a {kind} task.{did_you_mean(name, names)}",
            listed,
            "Or name a function of yours: {file: mine.py, object: name}.",
        )
    return name


def _user(wanted: UserObject, base: Path | None) -> Callable[..., Any]:
    """The user's function of (output, target); what it raises becomes a RecipeError that names the line."""
    found, what = userfile.find(wanted.file, wanted.object, base, RecipeError)
    options, fix = wanted.args, "It is called with (output, target): tensors, or tuples where there are several."
    if isinstance(found, type):
        found, options = userfile.call(found, f"{what} cannot be made", RecipeError, "See `args`.", **options), {}
    return lambda *args: userfile.call(found, f"{what} fails", RecipeError, fix, *args, **options)


def _one(tensors: Tensors) -> Tensor | Tensors:
    return tensors[0] if len(tensors) == 1 else tensors


class _Own:
    """Keeps outputs and targets, because the user's metric is called once, on the whole set."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call
        self._outputs: list[Arrays] = []
        self._targets: list[Arrays] = []

    def add(self, outputs: Arrays, targets: Arrays, _: Arrays) -> None:
        self._outputs.append(outputs)
        self._targets.append(targets)

    def result(self) -> float | str:
        value = self._call(_joined(self._outputs), _joined(self._targets))
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise RecipeError(f"a metric of yours gives {type(value).__name__}, not a number.") from error


def _joined(batches: list[Arrays]) -> Tensor | Tensors:
    return _one(tuple(torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*batches, strict=True)))


CLASSIFICATION = Objective(LOSSES["classification"]["cross_entropy"], {"accuracy": TABLE[0]})
