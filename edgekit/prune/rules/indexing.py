"""Operators that pick places: by number, by range, or by a tensor of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import fx

from edgekit.graph import edit
from edgekit.prune.analysis import Analysis, Dim, Dims, Kept, count
from edgekit.prune.rules.pointwise import broadcast

aten = torch.ops.aten


def _slice(state: Analysis, node: fx.Node) -> Dims:
    """A range of places stays a range, of those in it that are kept."""
    parts = edit.arguments(node)
    result = list(state.dims[edit.input_node(node)])
    d = parts["dim"] % len(result)
    atoms = state.atoms_of(result[d])
    if atoms is None:
        return tuple(result)
    if not all(isinstance(parts[name], (int, type(None))) for name in ("start", "end")):
        state.freeze((atoms,), f"{edit.describe(node)} takes a range of it that is not fixed")
        result[d] = None
    elif parts["step"] == 1:
        start, end, _ = slice(parts["start"], parts["end"]).indices(len(atoms))
        state.edit(node, "start", count(atoms[:start]))
        state.edit(node, "end", count(atoms[: max(start, end)]))
        result[d] = atoms[start:end]
    else:
        result[d] = _every(state, node, atoms)
    return tuple(result)


def _every(state: Analysis, node: fx.Node, atoms: Any) -> Dim:
    """One of ``step`` neighbours: the neighbours go together."""
    parts = edit.arguments(node)
    step = parts["step"]
    start, end, _ = slice(parts["start"], parts["end"]).indices(len(atoms))
    if len(atoms) % step or start >= step or end <= len(atoms) - step + start:
        state.freeze((atoms,), f"{edit.describe(node)} takes a part of it in steps")
        return None
    rows, columns = state.factor(atoms, (len(atoms) // step, step))
    state.freeze((columns,), f"{edit.describe(node)} takes one of {step}")
    state.edit(node, "end", lambda _: None)
    return rows


def _select(state: Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    source = state.dims[edit.input_node(node)]
    d = parts["dim"] % len(source)
    atoms = state.atoms_of(source[d])
    if atoms is not None and isinstance(parts["index"], int):
        index = parts["index"] % len(atoms)
        state.freeze((atoms[index : index + 1],), f"{edit.describe(node)} takes it")
        state.edit(node, "index", count(atoms[:index]))
    elif atoms is not None:
        state.freeze((atoms,), f"{edit.describe(node)} takes a place of it that is not fixed")
    return (*source[:d], *source[d + 1 :])


def _index_select(state: Analysis, node: fx.Node) -> Dims:
    """A permutation or choice of channels, where it is stored."""
    parts = edit.arguments(node)
    result, index = list(state.dims[parts["self"]]), parts["index"]
    d = parts["dim"] % len(result)
    atoms = state.atoms_of(result[d])
    if atoms is None:
        return tuple(result)
    if index.op != "get_attr" or len(index.users) > 1:
        state.freeze((atoms,), f"{edit.describe(node)} takes places of it that are not stored for it alone")
        result[d] = None
        return tuple(result)
    chosen = edit.get_tensor(state.graph.module, index).numpy(force=True)
    state.fix(state.dims[index][0])
    state.replace(index, lambda kept: torch.from_numpy(_moved(kept, atoms, chosen)))
    result[d] = atoms[chosen]
    return tuple(result)


def _moved(kept: Kept, atoms: Any, chosen: Any) -> Any:
    """Where the kept ones of the chosen places lie among the kept."""
    stays = kept(atoms)
    return (np.cumsum(stays) - 1)[chosen[stays[chosen]]].astype(chosen.dtype)


def _index(state: Analysis, node: fx.Node) -> Dims:
    """What tensors of numbers choose from stays; other dimensions pass."""
    parts = edit.arguments(node)
    source = state.dims[parts["self"]]
    given = [*parts["indices"], *[None] * (len(source) - len(parts["indices"]))]
    chosen = [n for n in given if n is not None]
    if any(n.meta["val"].dtype == torch.bool for n in chosen):
        state.refuse(node, f"{edit.describe(node)} chooses by truth values", source)
        return (None,) * len(state.sizes(node))
    state.freeze((source[d] for d, n in enumerate(given) if n is not None), f"{edit.describe(node)} chooses from it")
    state.freeze((dim for n in chosen for dim in state.dims[n]), f"{edit.describe(node)} chooses by it")
    places = [d for d, n in enumerate(given) if n is not None]
    rank = max(n.meta["val"].dim() for n in chosen)
    rest = [dim for d, dim in enumerate(source) if given[d] is None]
    together = places == list(range(places[0], places[-1] + 1))
    at = places[0] if together else 0
    return (*rest[:at], *(None,) * rank, *rest[at:])


def _gather(state: Analysis, node: fx.Node) -> Dims:
    """One place along a dimension for each element: the others have to agree."""
    parts = edit.arguments(node)
    source, index = state.dims[parts["self"]], state.dims[parts["index"]]
    d = parts["dim"] % len(source)
    state.freeze((source[d], index[d]), f"{edit.describe(node)} chooses from it")
    others = [
        ((*dims[:d], *dims[d + 1 :]), (*sizes[:d], *sizes[d + 1 :]))
        for dims, sizes in ((state.dims[n], state.sizes(n)) for n in (parts["self"], parts["index"]))
    ]
    if others[0][1] != others[1][1]:
        state.refuse(node, f"{edit.describe(node)} takes a part of it", (*source, *index))
        return (None,) * len(source)
    result = list(broadcast(state, node, others, len(source) - 1))
    result.insert(d, None)
    return tuple(result)


def _size(state: Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    state.freeze((state.dims[parts["self"]][parts["dim"]],), f"{edit.describe(node)} reads its size")
    return ()


RULES: dict[Any, Any] = {
    aten.slice.Tensor: _slice,
    aten.select.int: _select,
    aten.index_select.default: _index_select,
    aten.index.Tensor: _index,
    aten.gather.default: _gather,
    aten.sym_size.int: _size,
}
