"""Union-find over growing integer sets (Tarjan 1975), with path halving."""

from __future__ import annotations

from typing import Any

import numpy as np

Indices = np.ndarray[Any, np.dtype[np.int64]]


class UnionFind:
    """Disjoint sets of the atoms 0, 1, 2, ...; the smallest member stands for its set."""

    def __init__(self) -> None:
        self._parent: list[int] = []

    def new(self, count: int) -> Indices:
        """``count`` new atoms, each a set of its own."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def find(self, atom: int) -> int:
        """The atom that stands for the set of ``atom``."""
        parent = self._parent
        while parent[atom] != atom:
            parent[atom] = parent[parent[atom]]
            atom = parent[atom]
        return atom

    def union(self, a: Indices, b: Indices) -> None:
        """Join the sets of ``a[i]`` and ``b[i]`` for every i; both have the same length."""
        for left, right in zip(a.tolist(), b.tolist(), strict=True):
            x, y = self.find(left), self.find(right)
            self._parent[max(x, y)] = min(x, y)
