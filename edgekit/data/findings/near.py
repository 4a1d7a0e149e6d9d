"""Test items that are a training item with small changes: another volume, brightness, compression or a little noise.

Items are compared as directions: each item's own mean subtracted and length 1, then without what all have in common.
In that form a copy lies close to its original whatever its volume or contrast, and strangers lie far apart as soon as
items differ in many ways. Whether they do is measured first: where a stranger may come as near, nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgekit.data.findings.view import Finding, Input, Values, View, finding

NEAR = 0.05  # distance of two directions; copies in JPEG or with 5 % noise are nearer
MAX_STRANGERS = 0.01  # test items that may be expected to be near a stranger
MIN_SIZE = 16  # values of an item
MAX_COMPARED = 4096  # items of a set
_PROJECTED = 16  # directions of the first sieve; it misses a copy with a chance of 1e-7 (chi-square, factor 2)
_SAMPLE = 256  # items whose nearest neighbours are looked for
_FEWEST = 16  # neighbours of which a distribution can be told


def near_copies(view: View) -> Iterator[Finding]:
    """Look in each input that is neither a table nor tokens."""
    for part in view.inputs:
        if part.is_tokens or part.is_table or part.size < MIN_SIZE:
            continue
        yield _near(part)


def _near(part: Input) -> Finding:
    train, test = _some(part, "train"), _some(part, "test")
    known, common = _directions(train)
    asked, _ = _directions(test, common)
    strangers = len(test) * _chance_of_a_near_stranger(known)
    if strangers > MAX_STRANGERS:
        why = "different items lie as near to one another as copies would"
        return finding("near duplicates", True, f"{part.prefix}not examined: {why}")
    pairs = [(item, other) for item, other in _candidates(known, asked) if _is_near(asked[item], known[other])]
    found = sorted({item for item, other in pairs if not np.array_equal(test[item], train[other])})  # that is leakage
    first = f", the first is item {found[0] * len(part.array('test')) // len(test)}" if found else ""
    limit = f" (up to {MAX_COMPARED} items of each compared)" if len(train) < len(part.array("train")) else ""
    count = f"{part.prefix}{len(found)} of {len(test)} test items are a train item with small changes{first}{limit}"
    advice = "Split before augmenting, and keep copies of one recording or picture on one side"
    return finding("near duplicates", not found, count, advice, len(found), 0)


def _some(part: Input, name: str) -> Values:
    """Up to MAX_COMPARED evenly spaced items."""
    values = part.values(name)
    return values[:: -(-len(values) // MAX_COMPARED)]


def _directions(values: Values, common: Values | None = None) -> tuple[Values, Values]:
    """Unit vectors of items, zero for blank ones; and the mean before it was taken from them."""
    units = values - values.mean(axis=1, keepdims=True)
    blank = ~_normalise(units)
    common = units.mean(axis=0) if common is None else common
    units -= common
    _normalise(units)
    units[blank] = 0
    return units, common


def _normalise(vectors: Values) -> NDArray[np.bool_]:
    """Make all of length 1, in place, except those of no length; return which had one."""
    length = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    vectors /= np.where(length > 0, length, 1)[:, None]
    return np.asarray(length > 0)


def _chance_of_a_near_stranger(units: Values) -> float:
    """How probably an item's nearest neighbour that is no copy is near.

    Distances r to the nearest of many points in d dimensions follow P(r < t) ~ t^d for small t; d is estimated from the
    smaller half of those measured (Hill 1975), and the law gives what is too rare to be measured.
    """
    step = -(-len(units) // _SAMPLE)
    some = units[::step]
    cosines = some @ units.T
    cosines[np.arange(len(some)), np.arange(0, len(units), step)] = -1  # an item is not its own neighbour
    distances = np.sqrt(np.maximum(2 - 2 * cosines.max(axis=1), 0))[some.any(axis=1)]
    distances = distances[distances > NEAR]
    if len(distances) < _FEWEST:
        return 1.0
    median = np.median(distances)
    dimension = 1 / max(float(np.log(median / distances[distances <= median]).mean()), 1e-9)
    return float(0.5 * (NEAR / median) ** dimension)


def _candidates(train: Values, test: Values) -> list[tuple[int, int]]:
    """Pairs that are near in a few random projections, which keep distances up to a factor of 2."""
    rng = np.random.default_rng(1)
    projection = rng.standard_normal((train.shape[1], _PROJECTED), np.float32) / np.float32(_PROJECTED**0.5)
    from scipy.spatial import cKDTree

    close = cKDTree(train @ projection).query_ball_point(test @ projection, 2 * NEAR)
    return [(item, other) for item, others in enumerate(close) for other in others]


def _is_near(one: Values, other: Values) -> bool:
    """Whether two directions are near; an item without a direction is near nothing."""
    return float(np.linalg.norm(one - other)) <= NEAR and bool(one.any()) and bool(other.any())
