"""Tables, whose columns have a meaning of their own: constant, twice, telling the answer, far out, of other scales."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgekit.data.findings.targets import counts_of, is_one_label_each
from edgekit.data.findings.view import NORMAL_QUARTILES, OUTLIER, Finding, Input, Values, View, finding, listing

MAX_MISSING = 0.5  # share of a column's values; beyond, most of what the model sees is the median
SAME = 1e-6  # 1 - |correlation| of two columns that are one, up to scale and float32's rounding
GIVEN_AWAY = 0.99  # share of test items whose label one column tells
GIVEN_AWAY_R2 = 0.9999  # share of the target's variance that one column tells; yesterday's price tells 0.997 of today's
STEPS = 127  # INT8 has as many steps from 0 to the largest value of an input
MIN_ITEMS = 30  # fewer agree by chance


def columns(view: View) -> Iterator[Finding]:
    """All checks of tables, for each input that is one."""
    for part in view.inputs:
        if part.is_table:
            yield _missing(part)
            yield _constant(part)
            yield _outliers(view, part)
            yield _scales(view, part)
            if len(view.train) >= MIN_ITEMS and part.size > 1:
                yield _twins(part)
                yield _identifiers(view, part)
                yield from _give_away(view, part)


def _named(part: Input, check: str, found: list[int], what: str, advice: str) -> Finding:
    names = f": column {listing([part.column(index) for index in found])}" if found else ""
    message = f"{part.prefix}{len(found)} of {part.size} columns {what}{names}"
    return finding(check, not found, message, advice, len(found), 0)


def _indices(mask: NDArray[np.bool_]) -> list[int]:
    return [int(index) for index in np.flatnonzero(mask)]


def _missing(part: Input) -> Finding:
    found = _indices(part.gaps > MAX_MISSING)
    advice = "Drop such a column, or find out why it is empty"
    return _named(part, "missing values", found, f"are empty in more than {100 * MAX_MISSING:.0f} % of train", advice)


def _constant(part: Input) -> Finding:
    values = part.values("train")
    advice = "Drop them; if they vary on the device, the model has never seen it"
    found = _indices((values == values[0]).all(axis=0))
    return _named(part, "constant features", found, "never change in train", advice)


def _outliers(view: View, part: Input) -> Finding:
    """Values far from the median of train in any set; a column whose quartiles are equal has no scale to judge by."""
    train = part.values("train")
    low, middle, high = np.quantile(train, (0.25, 0.5, 0.75), axis=0)
    scale = np.where(part.measures, high - low, 0) / NORMAL_QUARTILES
    whole = np.concatenate([part.values(name) for name in view.sets if name != "test" or not view.tests_anomalies])
    far = np.divide(np.abs(whole - middle), scale, out=np.zeros(whole.shape), where=scale > 0)
    found = _indices((far > OUTLIER).any(axis=0))
    count = int((far > OUTLIER).sum())
    item, column = np.unravel_index(int(far.argmax()), far.shape)
    worst = f"; {whole[item, column]:g} in column {part.column(int(column))}" if found else ""
    message = f"{part.prefix}{count} values lie more than {OUTLIER:g} deviations from their column's median{worst}"
    advice = "A code for a missing value, a wrong unit, or a fault: mend or drop them; INT8's range would go to waste"
    return finding("outliers", not found, message, advice, float(far.max()), OUTLIER)


def _scales(view: View, part: Input) -> Finding:
    """INT8 has one scale for an input, so that a column can vary by less than one step of it."""
    values = part.values("train")
    step = np.abs(values).max() / STEPS
    spread = values.std(axis=0)
    found = [] if view.preprocessed else _indices(part.measures & (spread < step) & (values != values[0]).any(axis=0))
    advice = "INT8 rounds them away, and training sees little of them: scale every column alike (standardise)"
    return _named(part, "feature scales", found, "vary by less than one INT8 step of the whole input", advice)


def _twins(part: Input) -> Finding:
    values = part.values("train").astype(np.float64)
    varies = np.flatnonzero((values != values[0]).any(axis=0))
    units = values[:, varies] - values[:, varies].mean(axis=0)
    units /= np.linalg.norm(units, axis=0)
    alike = np.triu(np.abs(units.T @ units) > 1 - SAME, k=1)
    found = sorted({int(varies[column]) for column in np.flatnonzero(alike.any(axis=0))})
    return _named(part, "duplicate columns", found, "repeat an earlier one, up to scale", "Drop them")


def _identifiers(view: View, part: Input) -> Finding:
    """Whole numbers, each once, without large gaps: a row number, not a measurement."""
    whole = np.concatenate([part.values(name) for name in view.sets])
    top, bottom = whole.max(axis=0), whole.min(axis=0)
    dense = (whole == np.round(whole)).all(axis=0) & (top - bottom < 2 * len(whole))
    found = [index for index in _indices(dense) if len(np.unique(whole[:, index])) == len(whole)]
    advice = "Drop them: a model that learns them has learned the order of the file"
    return _named(part, "identifiers", found, "number the rows", advice)


def _give_away(view: View, part: Input) -> Iterator[Finding]:
    """A column that tells the answer alone: most often something that is known only after it."""
    known, asked = (view.sets[name].targets[0][:: part.step(name)] for name in ("train", "test"))
    if len(asked) < MIN_ITEMS:
        return
    pairs = list(zip(part.values("train").T, part.values("test").T, strict=True))
    if is_one_label_each(view) and counts_of(view, view.test).max() < GIVEN_AWAY * len(view.test):
        found = [index for index, pair in enumerate(pairs) if _told_label(*pair, known, asked) >= GIVEN_AWAY]
        what = f"alone tell the label of {100 * GIVEN_AWAY:g} % of test"
    elif view.kind == "regression" and known[0].size == 1:
        told = [_told_value(*pair, known.reshape(-1), asked.reshape(-1)) for pair in pairs]
        found = [index for index, share in enumerate(told) if share >= GIVEN_AWAY_R2]
        what = f"alone tell {100 * GIVEN_AWAY_R2:g} % of the target's variance"
    else:
        return
    yield _named(part, "target leakage", found, what, "Is it known when the device asks? If not, drop it")


def _told_label(train: Values, test: Values, known: NDArray[np.int64], asked: NDArray[np.int64]) -> float:
    """The share of test items with the label of the training item whose value in the column is nearest."""
    order = np.argsort(train, kind="stable")
    values = train[order]
    right = np.searchsorted(values, test).clip(1, len(values) - 1)
    nearest = right - (test - values[right - 1] <= values[right] - test)
    return float((known[order][nearest] == asked).mean())


def _told_value(train: Values, test: Values, known: Values, asked: Values) -> float:
    """The share of the variance of test's values that interpolation between the column's values in train explains."""
    values, places = np.unique(train, return_inverse=True)
    means = np.bincount(places, known) / np.bincount(places)
    inside = (test >= values[0]) & (test <= values[-1])
    variance = float(np.var(asked[inside])) if inside.any() else 0.0
    if len(values) < 2 or variance == 0:
        return 0.0
    return 1 - float(np.mean((np.interp(test[inside], values, means) - asked[inside]) ** 2)) / variance
