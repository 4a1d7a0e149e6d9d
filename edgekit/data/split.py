"""A set of items with their targets, and the seeded choice of a part of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = tuple[NDArray[Any], ...]
Labels = NDArray[np.int64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Split:
    """Items and what the model should make of them.

    Attributes:
        inputs: one array for each input of the model, [N, ...]: float32, uint8 (images) or int64 (tokens).
        targets: one array for each target of the task, [N, ...]: int64 classes or float32 values; for reconstruction,
            whose target is the input, one int64 [N] that is 1 for an anomaly.
    """

    inputs: Arrays
    targets: Arrays

    def __len__(self) -> int:
        return len(self.inputs[0])

    def take(self, indices: Indices) -> Split:
        """Return the items at ``indices``, in that order."""
        return Split(tuple(a[indices] for a in self.inputs), tuple(a[indices] for a in self.targets))

    def batches(self, size: int) -> Iterator[Split]:
        """Yield parts of ``size`` items in order; the last one may be shorter."""
        for start in range(0, len(self), size):
            yield self._part(slice(start, start + size))

    def items(self, n: int | None = None) -> list[Arrays]:
        """Return the first ``n`` items (by default all) for calibration: each a tuple of inputs with a batch of 1."""
        count = len(self) if n is None else min(n, len(self))
        return [self._part(slice(i, i + 1)).inputs for i in range(count)]

    def _part(self, part: slice) -> Split:
        return Split(tuple(a[part] for a in self.inputs), tuple(a[part] for a in self.targets))


def stratified(labels: Labels, count: int, seed: int) -> Indices:
    """Choose ``count`` items at random so that every class keeps its share to within one item.

    Items are ordered by class, in random order within each, and picked at even steps. Only raw words of the bit
    generator are used, whose stream numpy guarantees: the same seed chooses the same items under every version.

    Returns:
        The chosen indices, ascending.
    """
    total = len(labels)
    order = np.lexsort((np.random.PCG64(seed).random_raw(total), labels))
    steps = np.arange(total + 1, dtype=np.int64) * count // total
    return np.sort(order[steps[1:] > steps[:-1]])
