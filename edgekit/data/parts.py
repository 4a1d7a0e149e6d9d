"""Which items train and which are held out: seeded, disjoint, and by group where items belong together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.data.source import Source
from edgekit.data.split import Indices, Split, stratified
from edgekit.errors import DataError
from edgekit.options import DataConfig, TaskKind

Order = Literal["random", "last"]
Mask = NDArray[np.bool_]
Groups = NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """The sets of a run before they are encoded; ``groups`` are those of their items, by name, where they are known."""

    train: Split
    test: Split
    validation: Split | None
    groups: dict[str, Groups]


def split(source: Source, config: DataConfig, seed: int, kind: TaskKind) -> Parts:
    """Divide the items as the recipe says.

    A source that brings its own test items keeps them. Of a reconstruction only normal items train and validate:
    every anomaly is tested, whatever its group.

    Raises:
        DataError: a side would have no items, or the end that is held out would cut a group in two.
    """
    items, groups = source.items, source.groups
    normal = items.targets[0] == 0 if kind == "reconstruction" else np.ones(len(items), dtype=bool)
    train, apart = np.flatnonzero(normal), np.flatnonzero(~normal)
    if not len(train):
        raise DataError("There are no normal items to learn from.", fix="Their label is 0, or their class `normal`.")
    if source.test is None:
        train, held = _divided(items, groups, train, config.split, config.test_fraction, seed)
        apart = np.sort(np.concatenate([apart, held]))
    rest = np.zeros(0, dtype=np.intp)
    if config.validation_fraction:
        train, rest = _divided(items, groups, train, config.split, config.validation_fraction, seed + 3)
    test = items.take(apart) if source.test is None else _joined(source.test, items.take(apart))
    places = {"train": train, "validation": rest} | ({"test": apart} if source.test is None else {})
    known = {name: groups[at] for name, at in places.items()} if groups is not None else {}
    if groups is not None and source.test_groups is not None:
        known["test"] = np.concatenate([source.test_groups, groups[apart]])
    return Parts(items.take(train), test, items.take(rest) if len(rest) else None, known)


def _divided(
    items: Split, groups: Groups | None, among: Indices, order: Order, fraction: float, seed: int
) -> tuple[Indices, Indices]:
    """Which of the items ``among`` stay, and which are held out."""
    held = hold_out(items.take(among), None if groups is None else groups[among], order, fraction, seed)
    return among[~held], among[held]


def hold_out(items: Split, groups: Groups | None, order: Order, fraction: float, seed: int) -> Mask:
    """Mark the share of the items that is held out, at least one of them and one group.

    Raises:
        DataError: nothing would be left, or ``last`` would cut a group in two.
    """
    count = math.ceil(fraction * len(items))
    if count >= len(items):
        raise DataError(f"There are {len(items)} items, and {count} are held out.", fix="Give more items.")
    held = np.zeros(len(items), dtype=bool)
    if order == "last":
        held[len(items) - count :] = True
        _check_whole(held, groups)
    elif groups is not None:
        held = _whole_groups(groups, count, seed)
    else:
        held[stratified(strata(items), count, seed)] = True
    return held


def strata(items: Split) -> NDArray[np.int64]:
    """The labels by which a random choice keeps every class's share; one class for all where there are none."""
    first = items.targets[0] if items.targets else None
    if first is not None and first.dtype == np.int64 and first.ndim == 1:
        return first
    return np.zeros(len(items), dtype=np.int64)


def _whole_groups(groups: Groups, count: int, seed: int) -> Mask:
    """Hold out groups in random order, each that brings the number held out closer to ``count``; or the smallest."""
    names, sizes = np.unique(groups, return_counts=True)
    if len(names) < 2:
        raise DataError("All items are of one group.", "A group never stands on both sides.", "Give more groups.")
    order = np.argsort(np.random.PCG64(seed).random_raw(len(names)), kind="stable")
    chosen: list[int] = []
    for place in order[:-1]:  # one group always stays
        missing = count - int(sizes[chosen].sum())
        if abs(missing - int(sizes[place])) < missing:
            chosen.append(int(place))
    return np.isin(groups, names[chosen or [int(sizes.argmin())]])


def _check_whole(held: Mask, groups: Groups | None) -> None:
    both = np.intersect1d(groups[held], groups[~held]) if groups is not None else ()
    if len(both):
        raise DataError(
            "The end that is held out begins within a group.",
            "A group never stands on both sides.",
            "Use `data.split: random`, or change `data.test_fraction`.",
        )


def _joined(first: Split, second: Split) -> Split:
    if not len(second):
        return first
    inputs = tuple(np.concatenate(pair) for pair in zip(first.inputs, second.inputs, strict=True))
    return Split(inputs, tuple(np.concatenate(pair) for pair in zip(first.targets, second.targets, strict=True)))
