"""Test items that are a training item with small changes: another volume, brightness, compression or a little noise.

Items are compared as directions: each item's own mean subtracted and length 1, then without what all have in common.
In that form a copy lies close to its original whatever its volume or contrast, and strangers lie far apart as soon as
items differ in many independent ways; whether they do is measured first, and where they do not, nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgekit.data.findings.view import Finding, Input, Values, View, finding

NEAR = 0.05  # distance of two directions; copies in JPEG or with 5 % noise are nearer
MIN_DIRECTIONS = 10  # in 10 directions strangers come as near once in 4e12 pairs (area of a cap of the sphere)
MIN_SIZE = 16  # values of an item
MAX_COMPARED = 4096  # items of a set
_PROJECTED = 16  # directions of the first sieve; it misses a copy with a chance of 1e-7 (chi-square, factor 2)
_COUNTED = 256  # evenly spaced items, by whose pairs the directions are counted


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
    ways = _count_directions(known)
    if ways < MIN_DIRECTIONS:
        why = f"items vary in about {ways:.0f} independent ways, too few to tell copies from neighbours"
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


def _count_directions(units: Values) -> float:
    """In how many independent directions items differ: random unit vectors in d dimensions have E[cos^2] = 1 / d."""
    some = units[:: -(-len(units) // _COUNTED)]
    cosines = (some @ some.T)[np.triu_indices(len(some), k=1)]
    return float(1 / max(np.mean(cosines**2), 1e-9)) if len(cosines) else 0.0


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
