"""What makes a result doubtful without making it impossible: each check looks at all sets and says what it saw."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator

import numpy as np

from edgekit.data.findings import columns, copies, drift, items, near, targets
from edgekit.data.findings.view import Finding, View, finding

__all__ = ["Finding", "View", "findings"]

Check = Callable[[View], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    targets.sizes,
    targets.missing,
    targets.balance,
    targets.values,
    targets.anomalies,
    copies.duplicates,
    copies.leakage,
    copies.conflicts,
    copies.groups,
    columns.columns,
    items.items,
)
STATISTICAL: tuple[Check, ...] = (near.near_copies, drift.inputs, drift.targets)  # need SciPy


def findings(view: View) -> list[Finding]:
    """Look at the sets of a run; every check says ``ok`` or ``warn``, with numbers, and in a warning what to do."""
    with np.errstate(over="ignore", invalid="ignore"):  # sums of values at the end of float32's range
        return _look(view)


def _look(view: View) -> list[Finding]:
    found = [one for check in CHECKS for one in check(view)]
    if importlib.util.find_spec("scipy") is None:
        advice = "Install it: pip install 'edgekit[train]'"
        return [*found, finding("drift", False, "near duplicates and drift were not examined without SciPy", advice)]
    return found + [one for check in STATISTICAL for one in check(view)]
