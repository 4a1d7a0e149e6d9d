"""Whether the targets can teach and judge: sizes, balance, missing classes, values that never change."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgekit.data.findings.view import NORMAL_QUARTILES, OUTLIER, Finding, View, finding, listing
from edgekit.data.split import Labels, Split

MIN_BALANCE = 0.2  # the rarest class below this share of the most common one is reported
MIN_HELD_OUT = 30  # fewer items judge a share to no better than 18 points either way (95 %, at one half)
MIN_TRAIN_OF_A_CLASS = 10  # fewer are learned by heart
MIN_TEST_OF_A_CLASS = 5  # fewer move the class's recall in steps of more than 20 points


def sizes(view: View) -> Iterator[Finding]:
    """Held-out sets that are too small to judge by."""
    held_out = {name: len(split) for name, split in view.sets.items() if name != "train"}
    smallest = min(held_out.values())
    counts = ", ".join(f"{name} {count}" for name, count in held_out.items())
    margin = 98 / max(smallest, 1) ** 0.5
    message = f"held out: {counts} items; a share is known to {margin:.0f} points either way"
    yield finding(
        "held-out size", smallest >= MIN_HELD_OUT, message, "Give more items or hold more out", smallest, MIN_HELD_OUT
    )


def counts_of(view: View, split: Split) -> Labels:
    """How often each class occurs; ``ignored`` elements (below 0) do not count."""
    labels = split.targets[0]
    return np.bincount(labels[labels >= 0].reshape(-1), minlength=view.classes)


def is_labelled(view: View) -> bool:
    """Whether the first target holds classes."""
    return view.kind != "reconstruction" and view.classes > 0 and view.train.targets[0].dtype.kind in "iu"


def is_one_label_each(view: View) -> bool:
    """Whether each item has one class."""
    return is_labelled(view) and view.train.targets[0].ndim == 1


def balance(view: View) -> Iterator[Finding]:
    """How even the classes are, and whether each has enough items."""
    if not is_one_label_each(view):
        return
    for name in ("train", "test"):
        counts = counts_of(view, view.sets[name])
        present = np.flatnonzero(counts)
        rarest, commonest = int(present[counts[present].argmin()]), int(counts.argmax())
        share = counts[rarest] / counts[commonest]
        message = (
            f"{name}: {counts[rarest]} items of class {view.class_name(rarest)} "
            f"to {counts[commonest]} of class {view.class_name(commonest)}"
        )
        advice = "Accuracy hides the rare class: judge by f1, or give more items of it"
        yield finding("class balance", share >= MIN_BALANCE, message, advice, share, MIN_BALANCE)
        yield _enough(view, name, MIN_TRAIN_OF_A_CLASS if name == "train" else MIN_TEST_OF_A_CLASS)


def _enough(view: View, name: str, least: int) -> Finding:
    counts = counts_of(view, view.sets[name])
    few = [label for label in np.flatnonzero(counts) if counts[label] < least]
    words = [f"{view.class_name(int(label))}: {counts[label]}" for label in few]
    message = f"{name}: {f'too few items of class {listing(words)}' if few else f'every class has {least} or more'}"
    return finding("class size", not few, message, f"Give at least {least} of each", len(few), 0)


def missing(view: View) -> Iterator[Finding]:
    """Classes that a set does not have at all."""
    if not is_labelled(view):
        return
    sets = {**view.sets, **({"calibration": view.calibration} if view.calibration is not None else {})}
    holes = {name: np.flatnonzero(counts_of(view, split) == 0) for name, split in sets.items()}
    found = [
        f"{name} has no item of class {listing([view.class_name(int(label)) for label in labels])}"
        for name, labels in holes.items()
        if len(labels)
    ]
    message = "; ".join(found) if found else f"all {view.classes} classes are in {', '.join(sets)}"
    advice = "What is missing in train is not learned, in calibration not ranged, in test not judged: give such items"
    yield finding("missing classes", not found, message, advice, len(found), 0)


def values(view: View) -> Iterator[Finding]:
    """Regression: target values that never change, so that a constant answers them."""
    if view.kind != "regression":
        return
    array = view.train.targets[0].reshape(len(view.train), -1)
    constant = np.flatnonzero((array == array[0]).all(axis=0))
    words = listing([f"{index} is always {array[0, index]:g}" for index in constant])
    message = f"target {words} in train" if len(constant) else f"all {array.shape[1]} target values vary in train"
    yield finding("constant target", not len(constant), message, "Leave it out: there is nothing to learn")
    yield _far(view)


def _far(view: View) -> Finding:
    """Target values far from the median of train; squared, a single one can decide the loss."""
    low, middle, high = np.quantile(view.train.targets[0].reshape(len(view.train), -1), (0.25, 0.5, 0.75), axis=0)
    scale = (high - low) / NORMAL_QUARTILES
    whole = np.concatenate([split.targets[0].reshape(len(split), -1) for split in view.sets.values()])
    far = np.divide(np.abs(whole - middle), scale, out=np.zeros(whole.shape), where=scale > 0)
    item, column = np.unravel_index(int(far.argmax()), far.shape)
    count = int((far > OUTLIER).sum())
    worst = f"; {whole[item, column]:g} in target {column}" if count else ""
    message = f"{count} target values lie more than {OUTLIER:g} deviations from the median{worst}"
    advice = "A code for a missing value, a wrong unit, or a fault: mend or drop these items"
    return finding("outliers", not count, message, advice, float(far.max()), OUTLIER)


def anomalies(view: View) -> Iterator[Finding]:
    """Reconstruction: normal items alone to train on, both kinds to judge by."""
    if view.kind != "reconstruction":
        return
    learned = int(np.count_nonzero(view.train.targets[0]))
    odd, total = int(np.count_nonzero(view.test.targets[0])), len(view.test)
    message = f"{learned} anomalies in train; test has {odd} anomalies and {total - odd} normal items"
    advice = "Train on normal items only, and hold out some of both kinds"
    yield finding("anomalies", learned == 0 and 0 < odd < total, message, advice)
