"""Which indices go together: a growing set of *atoms*, each of which is cut or stays.

Every index of a dimension that may shrink has an atom. An atom is a *choice* of its own, or it is *joined*: gone as
soon as one of its parts is. The index (h, d) of 8 heads of 64 goes with head h and goes with dimension d, so a flat
dimension of 512 has 512 joined atoms over 8 + 64 choices, and reshapes in both directions need no special case.

Operators say which atoms are the same (:meth:`Atoms.tie`). What they cannot say exactly they say more strictly, by
tying or freezing more than they have to: that can make a cut smaller, never wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Indices = np.ndarray[Any, np.dtype[np.int64]]  # the atom of each index of a dimension


class Atoms:
    """Disjoint sets of atoms (Tarjan 1975, with path halving), joined atoms, and reasons why some stay."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._begins: list[int] = []  # of what was made together
        self._parts: dict[int, tuple[int, ...]] = {}  # by the atom that stands for a set of joined ones
        self._frozen: dict[int, str] = {}  # by the choice that stands for its set; the first reason stays

    def new(self, count: int) -> Indices:
        """``count`` new choices."""
        first = len(self._parent)
        self._begins.append(first)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def join(self, factors: Sequence[Indices]) -> Indices:
        """Atoms of a flat dimension over ``factors``, the last running fastest: each goes with any of its parts."""
        grids = [grid.ravel().tolist() for grid in np.meshgrid(*factors, indexing="ij")]
        flat = self.new(len(grids[0]))
        self._parts.update(zip(flat.tolist(), zip(*grids, strict=True), strict=True))
        return flat

    def origins(self, atoms: Indices) -> frozenset[int]:
        """Numbers of the dimensions that ``atoms`` were first made for: parts of one have the same."""
        return frozenset(np.searchsorted(self._begins, atoms, side="right").tolist())

    def find(self, atom: int) -> int:
        """The atom that stands for the set of ``atom``."""
        parent = self._parent
        while parent[atom] != atom:
            parent[atom] = parent[parent[atom]]
            atom = parent[atom]
        return atom

    def choices(self, atom: int) -> tuple[int, ...]:
        """The choices with any of which ``atom`` goes, each once, in the order of its factors."""
        root = self.find(atom)
        parts = self._parts.get(root)
        if parts is None:
            return (root,)
        return tuple(dict.fromkeys(choice for part in parts for choice in self.choices(part)))

    def names(self, atoms: Indices) -> Indices:
        """Equal numbers for atoms that go together, different ones else."""
        numbers: dict[frozenset[int], int] = {}
        sets = (frozenset(self.choices(atom)) for atom in atoms.ravel().tolist())
        found: Indices = np.empty(atoms.shape, np.int64)
        found.ravel()[:] = [numbers.setdefault(one, len(numbers)) for one in sets]
        return found

    def tie(self, a: Iterable[int], b: Iterable[int]) -> None:
        """Let ``a[i]`` and ``b[i]`` go together; both have the same length."""
        for left, right in zip(a, b, strict=True):
            x, y = self.find(left), self.find(right)
            if x != y:
                self._tie(x, y)

    def _tie(self, x: int, y: int) -> None:
        if x in self._parts and y in self._parts:
            self._tie_joined(x, y)
        elif x in self._parts or y in self._parts:
            choice, joined = (y, x) if x in self._parts else (x, y)
            if choice in (parts := self.choices(joined)):  # it goes with the others only if they are one
                self.tie([choice] * len(parts), parts)
            else:
                self._put_below(choice, joined)
        else:
            self._put_below(max(x, y), min(x, y))

    def _tie_joined(self, x: int, y: int) -> None:
        """Parts that the two share say nothing; the others are tied pair by pair, or stay where they do not pair."""
        mine, other = self.choices(x), self.choices(y)
        only_mine = [part for part in mine if part not in other]
        only_other = [part for part in other if part not in mine]
        if len(only_mine) == len(only_other):
            self.tie(only_mine, only_other)
        else:
            self.freeze([*only_mine, *only_other], "reshapes factor it in two ways")

    def _put_below(self, choice: int, root: int) -> None:
        """Let ``root`` stand for a choice, the reason why that stays included."""
        self._parent[choice] = root
        reason = self._frozen.pop(choice, None)
        if reason is not None:
            self.freeze([root], reason)

    def freeze(self, atoms: Iterable[int], reason: str) -> None:
        """Keep these, whatever happens."""
        for atom in atoms:
            for choice in self.choices(atom):
                self._frozen.setdefault(choice, reason)

    def reason(self, choice: int) -> str:
        """Why a choice stays; empty where it may go."""
        return self._frozen.get(choice, "")
