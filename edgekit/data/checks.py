"""What stops a run before it begins: data with which no result would mean anything. Doubts are in ``findings``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgekit.data.split import Labels, Split
from edgekit.errors import CalibrationError, DataError

__all__ = [
    "MIN_CALIBRATION",
    "check_calibration",
    "check_items",
    "check_labels",
    "check_teachable",
]

MIN_CALIBRATION = 32


def check_items(name: str, array: Any) -> None:
    """Refuse an input array that is not float32 [N, ...] with finite values; names the first bad item.

    Raises:
        DataError: dtype, shape, no items, or a NaN or infinite value.
    """
    if array.dtype != np.float32:
        raise DataError(f"{name} is {array.dtype}, not float32.", fix="Scale it as the model expects and save float32.")
    if array.ndim < 2 or not array.size:
        raise DataError(f"{name} has shape {list(array.shape)}.", fix="The first axis counts items; give at least one.")
    bad = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
    if bad.any():
        index = int(bad.argmax())
        kind = "NaN" if np.isnan(array[index]).any() else "an infinite value"
        raise DataError(
            f"{name}: item {index} holds {kind} ({int(bad.sum())} of {len(array)} items are not finite).",
            fix="Mend or remove these items; edgekit never replaces values on its own.",
        )


def check_labels(name: str, labels: Any, count: int, classes: int | None = None) -> Labels:
    """Return labels as int64 [N]; DataError unless they are integers from 0 (below ``classes``), one for each item."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != count:
        raise DataError(
            f"{name} is {labels.dtype} of shape {list(labels.shape)}.",
            f"There are {count} items.",
            "Give one integer class for each item.",
        )
    top = min(int(labels.max()), count - 1) if classes is None else classes - 1  # no more classes than items
    bad = (labels < 0) | (labels > top)
    if bad.any():
        index = int(bad.argmax())
        raise DataError(f"{name}: item {index} has label {labels[index]}.", f"Labels go from 0 to {top}.")
    return np.asarray(labels, dtype=np.int64)


def check_calibration(items: Sequence[Any], allow_few: bool = False) -> None:
    """Refuse a calibration set that is too small, or an item with NaN or infinite values.

    Args:
        items: each a tuple or dict of arrays, one for each input of the model.
        allow_few: accept fewer than 32 items.

    Raises:
        CalibrationError: names the item and the input.
    """
    if not items or (len(items) < MIN_CALIBRATION and not allow_few):
        raise CalibrationError(
            f"The calibration set has {len(items)} items.",
            f"Below {MIN_CALIBRATION} the ranges of the activations are guesses.",
            "Give more real samples (`quantize.calibration_samples`), or set `quantize.allow_few` to accept the risk.",
        )
    for index, item in enumerate(items):
        for name, array in item.items() if isinstance(item, Mapping) else enumerate(item):
            if not np.isfinite(np.asarray(array)).all():
                raise CalibrationError(
                    f"Calibration item {index}, input {name}, holds NaN or infinite values.",
                    fix="Mend or remove this item.",
                )


def check_teachable(name: str, kind: str, train: Split, class_names: Sequence[str] = ()) -> None:
    """Refuse training items that all have one class, or one value to predict: a constant would answer them perfectly.

    Raises:
        DataError: names the class or the value.
    """
    target = train.targets[0]
    if kind == "classification" and (target == target[0]).all():
        label = int(target[0])
        said = f"class {class_names[label] if label < len(class_names) else label}"
    elif kind == "regression" and all((array == array[0]).all() for array in train.targets):
        said = f"the target {target[0].reshape(-1)[0]:g}"
    else:
        return
    raise DataError(
        f"{name}: every training item has {said}.",
        "A model that always answers it is never wrong.",
        "Give items of other kinds, or use `data.split: random`.",
    )
