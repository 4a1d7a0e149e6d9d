"""What a held-out set is judged by: the table of metrics, and how each is counted up batch by batch.

Counts and sums are integers or float64, so a metric is the same for every batch size. Precision, recall, F1, IoU, AUC
and mean errors are torchmetrics'; it is imported when the first of them is asked for, because that takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.data import Split
from edgekit.errors import MissingDependency
from edgekit.graph import Graph

Array = NDArray[Any]
Arrays = tuple[Array, ...]
Run = Callable[..., Arrays]
BATCH = 256
NO_LABEL = "no item of the set has a label"
NOT_FINITE = "the outputs are not finite"


class Tally(Protocol):
    """Takes a held-out set batch by batch, then says what it came to."""

    def add(self, outputs: Arrays, targets: Arrays, inputs: Arrays) -> None:
        """Count a batch."""

    def result(self) -> float | str:
        """The value, or why there is none."""


@dataclass(frozen=True)
class Metric:
    """A number that says how good outputs are.

    Attributes:
        name: as recipes and results spell it.
        spoken: as a sentence spells it.
        better: whether ``higher`` or ``lower`` values are.
        unit: ``share`` (shown in percent) or ``value``.
        kinds: of tasks that it suits.
        tally: starts a count, for a kind of task.
    """

    name: str
    spoken: str
    better: Literal["higher", "lower"]
    unit: Literal["share", "value"]
    kinds: tuple[str, ...]
    tally: Callable[[str], Tally]


@dataclass(frozen=True)
class Measured:
    """Metrics on one set: the value of each by name, None where there is none, and then why."""

    values: dict[str, float | None]
    reasons: dict[str, str]


def accuracy(run: Run, split: Split) -> float:
    """Share of items whose largest score, in the first output [N, classes], stands at their label; from 0 to 1."""
    right = 0
    for batch in split.batches(BATCH):
        right += int((run(*batch.inputs)[0].argmax(1) == batch.targets[0]).sum())
    return right / len(split)


def predict(graph: Graph) -> Run:
    """A Graph as a function of numpy arrays, in inference mode."""
    graph = graph.copy().eval()

    def run(*arrays: Array) -> Arrays:
        with torch.inference_mode():
            result = graph(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))
        return tuple(tensor.numpy() for tensor in ((result,) if isinstance(result, torch.Tensor) else result))

    return run


def measure(run: Run, split: Split, metrics: Mapping[str, Metric], kind: str, batch: int = BATCH) -> Measured:
    """Every metric on a held-out set, which is run through once."""
    tallies = {name: metric.tally(kind) for name, metric in metrics.items()}
    for part in split.batches(batch):
        outputs = run(*part.inputs)
        for tally in tallies.values():
            tally.add(outputs, part.targets, part.inputs)
    results = {name: tally.result() for name, tally in tallies.items()}
    reasons = {
        name: NOT_FINITE for name, value in results.items() if not isinstance(value, str) and not isfinite(value)
    }
    reasons |= {name: value for name, value in results.items() if isinstance(value, str)}
    return Measured({name: None if name in reasons else float(value) for name, value in results.items()}, reasons)


def item_errors(outputs: Arrays, inputs: Arrays) -> NDArray[np.float64]:
    """Mean squared error of each item's reconstruction: against the second output where there is one, or the input."""
    wanted = outputs[1] if len(outputs) > 1 else inputs[0]
    difference = outputs[0].astype(np.float64) - wanted.reshape(outputs[0].shape)
    return np.asarray((difference**2).reshape(len(difference), -1).mean(1))


def _labels(kind: str, outputs: Arrays, targets: Arrays) -> tuple[Array, Array, int]:
    """Predicted and wanted classes of every place that has a label, and how many classes there are.

    The classes of detection and sequence labelling stand on the last axis, others on the second; a single score is one
    of class 1 if it is positive.
    """
    scores, wanted = outputs[0], targets[0].reshape(-1)
    axis = -1 if kind in ("detection", "sequence_labelling") else 1
    single = scores.ndim == 1 or scores.shape[axis] == 1
    found = ((scores > 0) if single else scores.argmax(axis)).reshape(-1)
    kept = wanted >= 0
    return found[kept].astype(np.int64), wanted[kept], 2 if single else scores.shape[axis]


def _torchmetrics(module: str, name: str) -> Any:
    try:
        import torchmetrics
        import torchmetrics.functional
    except ImportError as error:
        raise MissingDependency(
            "This metric comes with torchmetrics, which is not installed.", fix="pip install 'edgekit[train]'"
        ) from error
    return getattr(getattr(torchmetrics, module), name)


class _Accuracy:
    """Share of the places with a label whose class is right."""

    def __init__(self, kind: str) -> None:
        self._kind, self._right, self._all = kind, 0, 0

    def add(self, outputs: Arrays, targets: Arrays, _: Arrays) -> None:
        found, wanted, _classes = _labels(self._kind, outputs, targets)
        self._right += int((found == wanted).sum())
        self._all += len(wanted)

    def result(self) -> float | str:
        return self._right / self._all if self._all else NO_LABEL


class _ByClass:
    """A metric of torchmetrics over predicted and wanted classes, the mean over classes that occur in either."""

    def __init__(self, name: str, kind: str) -> None:
        self._name, self._kind = name, kind
        self._metric: Any = None
        self._make = _torchmetrics("classification", name)

    def add(self, outputs: Arrays, targets: Arrays, _: Arrays) -> None:
        found, wanted, classes = _labels(self._kind, outputs, targets)
        if len(wanted):
            self._metric = self._metric or self._make(classes, average="macro", validate_args=False)
            self._metric.update(torch.from_numpy(found), torch.from_numpy(wanted))

    def result(self) -> float | str:
        return NO_LABEL if self._metric is None else float(self._metric.compute())


class _Area:
    """Area under the ROC curve; the scores of the whole set are kept, because it is one of their order.

    For classes: each against the rest, the mean over the classes that the set holds. For reconstruction: how well an
    item's error tells anomalies (label 1) from the rest.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._scores: list[Array] = []
        self._wanted: list[Array] = []
        self._area = _torchmetrics("functional", "classification").binary_auroc

    def add(self, outputs: Arrays, targets: Arrays, inputs: Arrays) -> None:
        if self._kind == "reconstruction":
            self._scores.append(item_errors(outputs, inputs))
        else:
            self._scores.append(outputs[0].reshape(len(targets[0]), -1))
        self._wanted.append(targets[0].reshape(-1))

    def result(self) -> float | str:
        scores, wanted = np.concatenate(self._scores).astype(np.float64), np.concatenate(self._wanted)
        present = np.unique(wanted)
        if len(present) < 2:
            return f"every item of the set is of class {present[0]}"
        if not np.isfinite(scores).all():
            return NOT_FINITE
        if scores.ndim == 1 or scores.shape[1] == 1:
            return self._one(scores.reshape(-1), wanted == 1)
        shares = torch.softmax(torch.from_numpy(scores), 1).numpy()
        return float(np.mean([self._one(shares[:, label], wanted == label) for label in present]))

    def _one(self, scores: Array, positive: Array) -> float:
        """Scores go in as their ranks, or the float32 and the sigmoid inside would merge some of them."""
        ranks = np.unique(scores, return_inverse=True)[1].reshape(-1)
        preds = torch.from_numpy(ranks / max(ranks.max(), 1))
        return float(self._area(preds, torch.from_numpy(positive.astype(np.int64)), validate_args=False))


class _ByValue:
    """A metric of torchmetrics over values, in float64."""

    def __init__(self, name: str, _: str, **options: Any) -> None:
        self._metric = _torchmetrics("regression", name)(**options).set_dtype(torch.float64)

    def add(self, outputs: Arrays, targets: Arrays, _: Arrays) -> None:
        wanted = torch.from_numpy(targets[0].astype(np.float64))
        self._metric.update(torch.from_numpy(outputs[0].astype(np.float64)).reshape(-1), wanted.reshape(-1))

    def result(self) -> float | str:
        return float(self._metric.compute())


class _R2:
    """Share of the targets' variance that is explained, the mean over columns (Chan et al. 1979 for the variance).

    torchmetrics takes errors below an absolute 1e-4 for none, so that targets of a small scale always score 1.
    """

    def __init__(self, _: str) -> None:
        self._count, self._mean, self._spread, self._error = 0, np.zeros(1), np.zeros(1), np.zeros(1)

    def add(self, outputs: Arrays, targets: Arrays, _: Arrays) -> None:
        wanted = targets[0].astype(np.float64).reshape(len(targets[0]), -1)
        count, mean, total = len(wanted), wanted.mean(0), self._count + len(wanted)
        shift = mean - self._mean
        self._spread = self._spread + ((wanted - mean) ** 2).sum(0) + shift**2 * (self._count * count / total)
        self._mean, self._count = self._mean + shift * (count / total), total
        self._error = self._error + ((outputs[0].reshape(wanted.shape) - wanted) ** 2).sum(0)

    def result(self) -> float | str:
        if not (self._spread > 0).all():
            return "the targets of a column are all equal"
        return float(np.mean(1 - self._error / self._spread))


class _BoxOverlap:
    """Mean intersection over union of predicted and wanted boxes (x1, y1, x2, y2), over anchors that hold an object."""

    def __init__(self, _: str) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, outputs: Arrays, targets: Arrays, _: Arrays) -> None:
        held = targets[0] > 0
        found, wanted = outputs[1][held].astype(np.float64), targets[1][held].astype(np.float64)
        shared = _area(np.maximum(found[:, :2], wanted[:, :2]), np.minimum(found[:, 2:], wanted[:, 2:]))
        union = _area(found[:, :2], found[:, 2:]) + _area(wanted[:, :2], wanted[:, 2:]) - shared
        self._sum += float(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0).sum())
        self._count += len(found)

    def result(self) -> float | str:
        return self._sum / self._count if self._count else "no anchor of the set holds an object"


def _area(low: Array, high: Array) -> Array:
    """Area of boxes; those of a negative width or height have none."""
    return np.asarray(np.maximum(high - low, 0).prod(1))


class _ReconstructionError:
    """Mean squared error of the reconstruction, over normal items (label 0)."""

    def __init__(self, _: str) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, outputs: Arrays, targets: Arrays, inputs: Arrays) -> None:
        normal = targets[0].reshape(-1) == 0
        self._sum += float(item_errors(outputs, inputs)[normal].sum())
        self._count += int(normal.sum())

    def result(self) -> float | str:
        return self._sum / self._count if self._count else "every item of the set is an anomaly"


CLASSES = ("classification", "detection", "segmentation", "sequence_labelling")
VALUES = ("regression",)
TABLE: Sequence[Metric] = (
    Metric("accuracy", "accuracy", "higher", "share", CLASSES, _Accuracy),
    Metric("precision", "precision", "higher", "share", CLASSES, partial(_ByClass, "MulticlassPrecision")),
    Metric("recall", "recall", "higher", "share", CLASSES, partial(_ByClass, "MulticlassRecall")),
    Metric("f1", "F1 score", "higher", "share", CLASSES, partial(_ByClass, "MulticlassF1Score")),
    Metric("auc", "area under the ROC curve", "higher", "share", ("classification", "reconstruction"), _Area),
    Metric("mse", "mean squared error", "lower", "value", VALUES, partial(_ByValue, "MeanSquaredError")),
    Metric("mae", "mean absolute error", "lower", "value", VALUES, partial(_ByValue, "MeanAbsoluteError")),
    Metric(
        "rmse",
        "root mean squared error",
        "lower",
        "value",
        VALUES,
        partial(_ByValue, "MeanSquaredError", squared=False),
    ),
    Metric("r2", "coefficient of determination", "higher", "value", VALUES, _R2),
    Metric(
        "iou",
        "mean intersection over union",
        "higher",
        "share",
        ("segmentation",),
        partial(_ByClass, "MulticlassJaccardIndex"),
    ),
    Metric("iou", "mean intersection over union of boxes", "higher", "share", ("detection",), _BoxOverlap),
    Metric("error", "mean reconstruction error", "lower", "value", ("reconstruction",), _ReconstructionError),
)
