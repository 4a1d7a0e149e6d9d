"""Items that occur more than once: inside a set, across sets, with another label, or in the same group."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import combinations

import numpy as np

from edgekit.data.findings.targets import is_one_label_each
from edgekit.data.findings.view import CHANCE, Finding, Values, View, finding

DEPENDENCE = 3  # columns that go together coincide more often than independent ones do: allowed for by this factor


def duplicates(view: View) -> Iterator[Finding]:
    """Copies inside each set."""
    for name, keys in view.keys.items():
        known = Counter(keys)
        copies, total = len(keys) - len(known), len(keys)
        pairs = sum(n * (n - 1) // 2 for n in known.values())
        good, by_chance = _expected(view, pairs, total * (total - 1) / 2)
        message = f"{name}: {copies} of {total} items are copies of another one{by_chance}"
        yield finding("duplicates", good, message, "Remove them, unless they are meant to weigh more", copies, 0)


def leakage(view: View) -> Iterator[Finding]:
    """Items of one set that stand in another one too."""
    for one, other in combinations(view.keys, 2):
        known, found = Counter(view.keys[one]), view.keys[other]
        leaked = [index for index, key in enumerate(found) if key in known]
        pairs = sum(known[key] for key in found)
        good, by_chance = _expected(view, pairs, len(view.keys[one]) * len(found))
        first = f", the first is item {leaked[0]}" if leaked else ""
        message = f"{len(leaked)} of {len(found)} {other} items also stand in {one}{first}{by_chance}"
        advice = f"Remove them from {one}: {other} is to judge what was learned, not what was remembered"
        yield finding("leakage", good, message, advice, len(leaked), 0)


def conflicts(view: View) -> Iterator[Finding]:
    """Equal items with different labels: no model can be right on both."""
    if not is_one_label_each(view):
        return
    labels: dict[bytes, Counter[int]] = {}
    for name, keys in view.keys.items():
        for key, label in zip(keys, view.sets[name].targets[0].tolist(), strict=True):
            labels.setdefault(key, Counter())[label] += 1
    torn = [counts for counts in labels.values() if len(counts) > 1]
    wrong = sum(sum(counts.values()) - max(counts.values()) for counts in torn)
    total = sum(map(len, view.keys.values()))
    good, by_chance = _expected(view, wrong, total * (total - 1) / 2)
    at_most = f"; no model can be right on more than {total - wrong} of {total} items" if torn else ""
    message = f"{len(torn)} items occur with different labels{at_most}{by_chance}"
    yield finding("conflicting labels", good, message, "Correct the labels, or remove these items", len(torn), 0)


def groups(view: View) -> Iterator[Finding]:
    """Groups, such as patients or speakers, that stand on both sides of a split."""
    for one, other in combinations(view.groups, 2):
        both = np.intersect1d(view.groups[one], view.groups[other])
        message = f"{len(both)} of {len(np.unique(view.groups[other]))} groups of {other} also stand in {one}"
        advice = "Keep each group on one side: the model may know the group instead of the class"
        yield finding("group leakage", not len(both), message, advice, len(both), 0)


def _expected(view: View, pairs: int, compared: float) -> tuple[bool, str]:
    """Whether that many equal pairs are no more than chance gives, and what the message says of it.

    A table of few columns with few values each must hold equal rows. Were the columns independent, the number of equal
    pairs would be about Poisson with the mean computed here.
    """
    if not pairs:
        return True, ""
    chance = compared * _coincidence(view)
    good = _log_poisson_tail(pairs, DEPENDENCE * chance) >= math.log(CHANCE)
    return good, f" (so few different values coincide by chance: {chance:.0f} equal pairs are expected)" if good else ""


def _log_poisson_tail(least: int, mean: float) -> float:
    """Chernoff's bound of the chance that a Poisson number of that mean is ``least`` or more, as a logarithm."""
    if mean == 0:
        return -math.inf
    return least - mean + least * math.log(mean / least) if least > mean else 0.0


def _coincidence(view: View) -> float:
    """How probably two rows of a table agree, were the columns independent; 0 for anything but tables."""
    if not all(part.is_table for part in view.inputs):
        return 0.0
    rows = Counter(view.keys["train"])
    columns = [column for part in view.inputs for column in part.values("train").T]
    return float(np.prod([_agreement(column, rows) for column in columns]))


def _agreement(column: Values, rows: Counter[bytes]) -> float:
    """The share of pairs of rows that agree in this column; in one of measurements, copies of rows do not count.

    In a column of few values copies hardly change that share; in one of many they make all of it.
    """
    _, counts = np.unique(column, return_counts=True)
    pairs = int((counts * (counts - 1) // 2).sum())
    if 2 * len(counts) > len(column):
        pairs -= sum(n * (n - 1) // 2 for n in rows.values())
    return 2 * max(pairs, 0) / max(len(column) * (len(column) - 1), 1)
