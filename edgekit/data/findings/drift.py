"""Whether the sets are drawn from one distribution: inputs, values to predict, and labels.

Each test is for all columns together (Bonferroni) and warns only where chance gives so much less than once in
1 / CHANCE cases *and* the difference is large enough to matter: with many items a test sees differences that nobody
needs to know. Sets that were split at random and kept in balance differ less than chance, so it errs towards silence.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgekit.data.findings.targets import counts_of, is_one_label_each
from edgekit.data.findings.view import CHANCE, Finding, Input, Values, View, finding

MIN_DISTANCE = 0.1  # of two distribution functions: a shift of a quarter of a standard deviation
MIN_EXPECTED = 5  # items of a class for which chi-square holds
MIN_SHIFT = 0.1  # share of the items that would have to change class
_SUMMARY = ("mean", "deviation", "smallest value", "largest value")


def inputs(view: View) -> Iterator[Finding]:
    """Compare every set with train: columns of tables, and mean, deviation and range of other items."""
    others = [name for name in view.sets if name != "train"] + (["calibration"] if view.calibration else [])
    for part in view.inputs:
        train, names = _features(view, part, "train")
        for other in others:
            features, _ = _features(view, part, other)
            if len(features):
                what = f"{part.prefix}{other} against train"
                yield _compared(what, train, features, names, part.examined("train", other))


def targets(view: View) -> Iterator[Finding]:
    """Compare what is to be predicted in the other sets with train."""
    for other in (name for name in view.sets if name != "train"):
        if view.kind == "regression":
            one, two = (split.targets[0].reshape(len(split), -1) for split in (view.train, view.sets[other]))
            names = [f"target {index}" for index in range(one.shape[1])]
            yield _compared(f"targets of {other} against train", one, two, names, "")
        elif is_one_label_each(view) and view.classes > 1:
            yield _labels(view, other)


def _features(view: View, part: Input, name: str) -> tuple[Values, list[str]]:
    """What is compared of a set's items: of a reconstruction only normal ones, since anomalies differ on purpose."""
    if part.is_table:
        features, names = part.values(name), [f"column {part.column(index)}" for index in range(part.size)]
    else:
        features, names = part.summary(name), [f"{word} of an item" for word in _SUMMARY]
    if view.tests_anomalies and name == "test":
        features = features[view.test.targets[0][:: part.step(name)] == 0]
    return features, names


def _compared(what: str, train: Values, other: Values, names: list[str], examined: str) -> Finding:
    """Kolmogorov and Smirnov's test of each column; the p-value only for the largest distance, which has the least."""
    from scipy import stats

    distances = np.array([distance(*columns) for columns in zip(train.T, other.T, strict=True)])
    worst = int(distances.argmax())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # scipy says that it goes over to the asymptotic formula
        p = stats.ks_2samp(train[:, worst], other[:, worst]).pvalue
    good = bool(distances[worst] < MIN_DISTANCE or p * len(distances) >= CHANCE)
    medians = f"median {np.median(train[:, worst]):.4g} in train, {np.median(other[:, worst]):.4g} there"
    where = "" if good else f", {names[worst]}: {medians}"
    message = f"{what}: largest distance of distributions {distances[worst]:.2f}{where}{examined}"
    advice = (
        "They come from different sources, units or times: mix them, or make sure that the device will see the like"
    )
    return finding("drift", good, message, advice, distances[worst], MIN_DISTANCE)


def distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The largest difference of two empirical distribution functions."""
    one, other = np.sort(one), np.sort(other)
    both = np.concatenate([one, other])
    shares = [np.searchsorted(values, both, side="right") / len(values) for values in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def _labels(view: View, other: str) -> Finding:
    counts = np.stack([counts_of(view, view.train), counts_of(view, view.sets[other])])
    shares = counts / counts.sum(axis=1, keepdims=True)
    shift = float(np.abs(shares[0] - shares[1]).sum() / 2)
    good = shift < MIN_SHIFT or _same_shares(counts)
    most = int(np.abs(shares[0] - shares[1]).argmax())
    words = f"class {view.class_name(most)} is {100 * shares[0, most]:.0f} % of train and {100 * shares[1, most]:.0f} %"
    message = f"{other} against train: {100 * shift:.0f} % of the items would have to change class; {words} of {other}"
    advice = "Keep the shares of the classes, or give the loss weights on purpose"
    return finding("label drift", good, message, advice, shift, MIN_SHIFT)


def _same_shares(counts: NDArray[np.int64]) -> bool:
    """Chi-square; classes too rare for it are taken together."""
    from scipy import stats

    expected = counts.sum(axis=0) * counts.sum(axis=1).min() / counts.sum()
    common = expected >= MIN_EXPECTED
    table = np.column_stack([counts[:, common], counts[:, ~common].sum(axis=1)])
    table = table[:, table.sum(axis=0) > 0]
    return table.shape[1] < 2 or bool(stats.chi2_contingency(table).pvalue >= CHANCE)
