"""Cutting: parameters and buffers lose the indices of the channels that go, arguments that count them follow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgekit.graph import Graph, edit
from edgekit.prune.analysis import Analysis, Kept, Slot
from edgekit.prune.atoms import Indices
from edgekit.prune.groups import Coupling

Mask = np.ndarray[Any, np.dtype[np.bool_]]


def cut(graph: Graph, coupling: Coupling, choices: Iterable[int]) -> None:
    """Remove channels from ``graph`` in place and refresh it. ``coupling`` must come from this very graph."""
    state, gone = coupling.state, frozenset(choices)
    if gone:
        kept = keeper(state, gone)
        names = _names(graph)
        for path, slots in state.stored.items():
            old = edit.get_by_path(graph.module, path)
            _put(graph, names, old, _smaller(old, slots, kept))
        for node, value in state.replacements.items():
            old = edit.get_tensor(graph.module, node)
            _put(graph, names, old, value(kept).to(old.device))
        for one in state.edits:
            edit.set_argument(one.node, one.argument, one.value(kept))
    graph.refresh()


def keeper(state: Analysis, gone: frozenset[int]) -> Kept:
    """The function that says which atoms stay when these choices are cut."""
    atoms_known: dict[int, bool] = {}
    known: dict[int, tuple[Indices, Mask]] = {}  # dimensions that met share one array

    def stays(atom: int) -> bool:
        if atom not in atoms_known:
            atoms_known[atom] = gone.isdisjoint(state.atoms.choices(atom))
        return atoms_known[atom]

    def kept(atoms: Indices) -> Mask:
        if id(atoms) not in known:
            known[id(atoms)] = atoms, np.fromiter(map(stays, atoms.tolist()), bool, len(atoms))
        return known[id(atoms)][1]

    return kept


def _smaller(tensor: Tensor, slots: tuple[Slot, ...], kept: Kept) -> Tensor:
    smaller = tensor.detach()
    for dim, slot in enumerate(slots):
        if slot.atoms is not None:
            stays = kept(slot.atoms)
            if not stays.all():
                smaller = smaller.index_select(dim, torch.from_numpy(np.flatnonzero(stays)).to(tensor.device))
    if smaller.shape == tensor.shape:
        return tensor
    return nn.Parameter(smaller, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else smaller


def _names(graph: Graph) -> dict[int, list[str]]:
    """Every path of each stored tensor, by its identity: tied weights have several."""
    found: dict[int, set[str]] = {}
    for node in graph.nodes:
        if node.op == "get_attr":
            found.setdefault(id(edit.get_attribute(graph.module, str(node.target))), set()).add(str(node.target))
    return {tensor: sorted(paths) for tensor, paths in found.items()}


def _put(graph: Graph, names: dict[int, list[str]], old: Tensor, new: Tensor) -> None:
    if new is not old:
        for name in names[id(old)]:
            edit.set_tensor(graph.module, name, new)
