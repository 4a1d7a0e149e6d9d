"""Targets as the kind of task wants them, and the classes that they name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekit.data.checks import check_labels
from edgekit.data.source import Source
from edgekit.data.split import Arrays, Split
from edgekit.errors import DataError
from edgekit.options import TaskKind

NORMAL = ("normal", "good", "ok", "0")  # names of the class that reconstruction learns
_LABELLED = ("classification", "segmentation", "sequence_labelling", "detection")


def fit(name: str, source: Source, kind: TaskKind) -> Source:
    """Return the source with targets of the form that the task wants, for all its items.

    Raises:
        DataError: the targets cannot be those of such a task; names the source and the item.
    """
    test = None if source.test is None else _fit(f"{name} (test)", source.test, source, kind)
    classes = ("normal", "anomaly") if kind == "reconstruction" else source.classes
    return replace(source, items=_fit(name, source.items, source, kind), test=test, classes=classes)


def count_classes(source: Source, kind: TaskKind) -> int:
    """How many classes the first integer target has; 0 where the task knows none."""
    if kind not in _LABELLED:
        return 0
    splits = [source.items] + ([source.test] if source.test is not None else [])
    labels = [[target for target in split.targets if target.dtype == np.int64][:1] for split in splits]
    return max([len(source.classes), *(int(target.max()) + 1 for found in labels for target in found)])


def _fit(name: str, split: Split, source: Source, kind: TaskKind) -> Split:
    if kind in ("classification", "regression", "reconstruction", "segmentation", "sequence_labelling"):
        return Split(split.inputs, _FIT[kind](name, split.targets, source))
    return split


def _classification(name: str, targets: Arrays, source: Source) -> Arrays:
    (labels,) = _one(name, targets)
    return (check_labels(f"{name}: y", labels, len(labels), len(source.classes) or None),)


def _regression(name: str, targets: Arrays, source: Source) -> Arrays:
    """Make [N, 1] of [N], which against an output [N, 1] would compare every item with every other."""
    if source.classes:
        raise DataError(f"{name}: the targets are classes ({source.classes[0]}, ...), not values.", fix=_KIND)
    values = [target.astype(np.float32) for target in targets]
    return tuple(value[:, None] if value.ndim == 1 else value for value in values)


def _elements(name: str, targets: Arrays, _: Source) -> Arrays:
    """A class for every element of an item; a negative one marks an element that does not count."""
    (labels,) = _one(name, targets)
    if labels.dtype != np.int64 or labels.ndim < 2:
        raise DataError(
            f"{name}: y is {labels.dtype} of shape {list(labels.shape)}.",
            "Every element of an item needs an integer class.",
            _KIND,
        )
    return (labels,)


def _reconstruction(name: str, targets: Arrays, source: Source) -> Arrays:
    """Label 0, or a class whose name says so, is normal; every other one is an anomaly."""
    (labels,) = _one(name, targets)
    labels = check_labels(f"{name}: y", labels, len(labels), len(source.classes) or None)
    normal = [place for place, word in enumerate(source.classes) if word.lower() in NORMAL]
    if source.classes and len(normal) != 1:
        raise DataError(
            f"{name}: which of the classes {', '.join(source.classes[:8])} is the normal one?",
            fix=f"Name exactly one of them: {', '.join(NORMAL)}.",
        )
    return ((labels != (normal[0] if normal else 0)).astype(np.int64),)


def _one(name: str, targets: Arrays) -> Arrays:
    if len(targets) != 1:
        raise DataError(f"{name} has {len(targets)} targets, this kind of task has one.", fix=_KIND)
    return targets


_KIND = "Change the data, or `task.kind`."
_FIT = {
    "classification": _classification,
    "regression": _regression,
    "reconstruction": _reconstruction,
    "segmentation": _elements,
    "sequence_labelling": _elements,
}
