"""A set of items with their labels, and the seeded, stratified choice of a part of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Inputs = tuple[NDArray[np.float32], ...]
Labels = NDArray[np.int64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Split:
    """Items and labels.

    Attributes:
        inputs: one array for each input of the model, float32 [N, ...].
        targets: class of each item, int64 [N].
    """

    inputs: Inputs
    targets: Labels

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, indices: Indices) -> Split:
        """Return the items at ``indices``, in that order."""
        return Split(tuple(array[indices] for array in self.inputs), self.targets[indices])

    def batches(self, size: int) -> Iterator[tuple[Inputs, Labels]]:
        """Yield ``(inputs, targets)`` in order; the last batch may be shorter."""
        for start in range(0, len(self), size):
            yield tuple(array[start : start + size] for array in self.inputs), self.targets[start : start + size]

    def items(self, n: int | None = None) -> list[Inputs]:
        """Return the first ``n`` items (by default all) for calibration: each a tuple of inputs with a batch of 1."""
        count = len(self) if n is None else min(n, len(self))
        return [tuple(array[i : i + 1] for array in self.inputs) for i in range(count)]


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
