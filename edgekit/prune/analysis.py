"""What is known of a graph while its operators are read one by one: the atoms of every dimension of every value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, fx

from edgekit.graph import Graph, edit
from edgekit.graph.graph import known_size
from edgekit.prune.atoms import Atoms, Indices

Kept = Callable[[Indices], np.ndarray[Any, np.dtype[np.bool_]]]  # of atoms: which stay
FIXED = "it meets a dimension of fixed size"


@dataclass(eq=False)
class Slot:
    """A dimension of a stored tensor. It takes the atoms of the first dimension that it meets, else gets its own."""

    size: int
    atoms: Indices | None = None
    met: bool = False


Dim = Slot | Indices | None  # None: never cut
Dims = tuple[Dim, ...]  # one entry for each dimension


@dataclass(frozen=True)
class Edit:
    """An argument of a call that follows from what is kept."""

    node: fx.Node
    argument: str
    value: Callable[[Kept], Any]


@dataclass
class Analysis:
    """Atoms and what they are dimensions of.

    Attributes:
        dims: of every value that is one tensor.
        results: of every value that is several tensors.
        stored: of parameters and buffers by path; tied ones share an entry.
        edits: arguments to set after a cut.
        replacements: stored tensors to make anew after a cut, by the node that reads them.
        refusals: (node, reason) of every operator that made its inputs unprunable.
    """

    graph: Graph
    atoms: Atoms = field(default_factory=Atoms)
    dims: dict[fx.Node, Dims] = field(default_factory=dict)
    results: dict[fx.Node, list[Dims]] = field(default_factory=dict)
    stored: dict[str, tuple[Slot, ...]] = field(default_factory=dict)
    edits: list[Edit] = field(default_factory=list)
    replacements: dict[fx.Node, Callable[[Kept], Tensor]] = field(default_factory=dict)
    refusals: list[tuple[str, str]] = field(default_factory=list)
    _paths: dict[int, str] = field(default_factory=dict)

    def sizes(self, node: fx.Node) -> tuple[int | str, ...]:
        """The shape of a value: numbers, and names of sizes that are known only when it runs."""
        shape = node.meta["val"].shape
        return tuple(str(size) if known_size(size) is None else int(size) for size in shape)

    def read(self, node: fx.Node) -> Dims:
        """The dimensions of what a ``get_attr`` node reads."""
        value = edit.get_attribute(self.graph.module, str(node.target))
        if not isinstance(value, Tensor):
            return ()  # a part of the graph with code of its own
        path = self._paths.setdefault(id(value), str(node.target))
        if path not in self.stored:
            self.stored[path] = tuple(Slot(size) for size in value.shape)
        return self.stored[path]

    def atoms_of(self, dim: Dim) -> Indices | None:
        """The atoms of a dimension; a stored one that nothing has met yet gets its own."""
        if not isinstance(dim, Slot):
            return dim
        if not dim.met:
            dim.met, dim.atoms = True, self.atoms.new(dim.size)
        return dim.atoms

    def tie(self, a: Dim, b: Dim, reason: str = FIXED) -> None:
        """Make two dimensions one; tied to one that is never cut, a dimension stays for ``reason``."""
        for slot, other in ((a, b), (b, a)):
            if isinstance(slot, Slot) and not slot.met and other is not None:
                slot.atoms, slot.met = self.atoms_of(other), True
                return
        x, y = self.atoms_of(a), self.atoms_of(b)
        if x is None or y is None:
            self.freeze((x, y), reason)
        else:
            self.atoms.tie(x.tolist(), y.tolist())

    def fix(self, dim: Dim) -> None:
        """Keep every index of a dimension that nobody would think of cutting, such as that of a kernel."""
        if isinstance(dim, Slot) and not dim.met:
            dim.met = True
        else:
            self.freeze((dim,), FIXED)

    def freeze(self, dims: Iterable[Dim], reason: str) -> None:
        """Keep every index of these dimensions."""
        for dim in dims:
            atoms = self.atoms_of(dim)
            if atoms is not None:
                self.atoms.freeze(atoms.tolist(), reason)

    def refuse(self, node: fx.Node, reason: str, dims: Iterable[Dim]) -> None:
        """Freeze what ``node`` touches, with a line in the report."""
        self.refusals.append((node.name, reason))
        self.freeze(dims, reason)

    def fixed(self, size: int) -> Indices:
        """Atoms of a dimension that is never cut."""
        atoms = self.atoms.new(size)
        self.atoms.freeze(atoms.tolist(), FIXED)
        return atoms

    def edit(self, node: fx.Node, argument: str, value: Callable[[Kept], Any]) -> None:
        """After a cut, ``argument`` of ``node`` is ``value`` of what is kept."""
        self.edits.append(Edit(node, argument, value))

    def replace(self, node: fx.Node, value: Callable[[Kept], Tensor]) -> None:
        """After a cut, the stored tensor that ``node`` reads is ``value`` of what is kept."""
        self.replacements[node] = value

    def flatten(self, dims: Sequence[Dim], sizes: Sequence[int]) -> Indices | None:
        """The one dimension that ``dims`` become when they are seen as one, the last running fastest."""
        of = [None if size == 1 else self.atoms_of(dim) for dim, size in zip(dims, sizes, strict=True)]
        found = [(d, atoms) for d, atoms in enumerate(of) if atoms is not None]
        if not found:
            return None
        grid = self.atoms.join([atoms for _, atoms in found]) if len(found) > 1 else found[0][1]
        shape = [1] * len(sizes)
        for d, atoms in found:
            shape[d] = len(atoms)
        return np.broadcast_to(grid.reshape(shape), tuple(sizes)).ravel()

    def factor(self, dim: Dim, sizes: Sequence[int]) -> list[Indices | None]:
        """The dimensions that ``dim`` becomes when it is seen as several, the last running fastest.

        What is kept has to be a rectangle: whole rows and whole columns go. Dimensions along which nothing changes are
        never cut.
        """
        atoms = self.atoms_of(dim)
        result: list[Indices | None] = [None] * len(sizes)
        if atoms is None or len(atoms) == 1:
            return result  # a dimension of size 1 is never cut
        grid = atoms.reshape(tuple(sizes))
        names = self.atoms.names(grid)
        varying = [d for d, size in enumerate(sizes) if size > 1 and (names != names.take([0], d)).any()]
        if not varying:
            self.atoms.freeze(atoms.tolist(), "all of a dimension goes together")
            return result
        corner = grid[tuple(slice(None) if d in varying else 0 for d in range(len(sizes)))]
        factors = [corner] if len(varying) == 1 else self._rectangle(corner)
        for d, one in zip(varying, factors, strict=True):
            result[d] = one
        return result

    def _rectangle(self, grid: Indices) -> list[Indices]:
        """Atoms for each dimension of ``grid`` that join to those in it; new ones unless they can be read off."""
        found = [self._shared(grid, d) for d in range(grid.ndim)]
        if all(one is not None for one in found) and self._joins(grid, [one for one in found if one is not None]):
            return [np.array(one) for one in found if one is not None]
        factors = [self.atoms.new(size) for size in grid.shape]
        self.atoms.tie(grid.ravel().tolist(), self.atoms.join(factors).tolist())
        return factors

    def _shared(self, grid: Indices, axis: int) -> list[int] | None:
        """For each index along ``axis`` the one choice with which all of its atoms go; None where there is none."""
        result: list[int] = []
        for row in np.moveaxis(grid, axis, 0).reshape(grid.shape[axis], -1).tolist():
            common = frozenset.intersection(*(frozenset(self.atoms.choices(atom)) for atom in row))
            if len(common) != 1:
                return None
            result.extend(common)
        return result

    def _joins(self, grid: Indices, factors: Sequence[Sequence[int]]) -> bool:
        for place in np.ndindex(grid.shape):
            parts = {factor[i] for factor, i in zip(factors, place, strict=True)}
            if parts != set(self.atoms.choices(int(grid[place]))):
                return False
        return True


def count(dim: Dim) -> Callable[[Kept], int]:
    """How many of a dimension stay."""

    def value(kept: Kept) -> int:
        atoms = dim.atoms if isinstance(dim, Slot) else dim
        if atoms is None:
            assert isinstance(dim, Slot)  # one that nothing met
            return dim.size
        return int(kept(atoms).sum())

    return value


def lengths(kept: Kept, sizes: Any, dims: Dims) -> list[Any]:
    """``sizes``, those numbers made anew that count a dimension which may be cut."""
    return [
        count(dim)(kept) if isinstance(size, int) and size > 1 and dim is not None else size
        for size, dim in zip(sizes, dims, strict=True)
    ]
