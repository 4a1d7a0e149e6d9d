"""``flatten``, ``reshape``, ``transpose`` and ``permute`` for every other name of a look at the same values.

Sizes of a reshape are numbers; one dynamic size is -1, further ones are read from the input, so that nothing in the
graph computes with sizes that stand in the shapes anyway.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgekit.graph import edit
from edgekit.graph.canonical.rule import Rule, become, bypass, calls_of
from edgekit.graph.graph import Graph, known_size

aten = torch.ops.aten
_VIEWS = (
    aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.unflatten.int, aten.view_as.default,
    aten.reshape_as.default, aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.unsqueeze.default,
    aten.flatten.using_ints,
)  # fmt: skip
_PERMUTATIONS = (
    aten.transpose.int, aten.permute.default, aten.t.default, aten.numpy_T.default, aten.mT.default, aten.mH.default,
    aten.adjoint.default, aten.matrix_H.default, aten.swapaxes.default, aten.swapdims.default, aten.movedim.int,
    aten.movedim.intlist, aten.moveaxis.int, aten.moveaxis.intlist,
)  # fmt: skip


def _not_flatten(node: fx.Node) -> str:
    """Only ``[batch, everything else]`` is a flatten: it then holds no size that pruning would have to edit."""
    before, after = _shapes(node)
    if node.target is aten.flatten.using_ints and node.args[1:] == (1,):
        return "it is written so already"
    if len(after) != 2 or len(before) < 2:
        return "the result is not [batch, features]"
    return "" if str(after[0]) == str(before[0]) else "the first dimension is not the batch"


def _to_flatten(_: Graph, node: fx.Node) -> None:
    become(node, aten.flatten.using_ints, node.args[0], 1)


def _not_reshape(node: fx.Node) -> str:
    before, after = _shapes(node)
    if node.target is aten.flatten.using_ints:
        start = edit.arguments(node)["start_dim"] % max(len(before), 1)
        if start or len(before) < 2:
            return "pruning follows a flatten that leaves the batch alone"
    if any(known_size(size) == 0 for size in after):
        return "an empty tensor leaves the other sizes open"
    wanted = _wanted(before, after)
    if wanted is None:
        return "" if node.target in (aten.view.default, aten._unsafe_view.default) else "it computes its sizes"
    given = list(node.args[1]) if node.target is aten.reshape.default else None  # type: ignore[arg-type]
    return "it is written so already" if given is not None and _same(given, wanted) else ""


def _wanted(before: list[Any], after: list[Any]) -> list[int | str] | None:
    """Sizes of a reshape: a number, -1, or the name of a dynamic size of the input; None where that is not enough."""
    names = [str(size) for size in before]
    known = [known_size(size) for size in after]
    dynamic = [d for d, size in enumerate(known) if size is None]
    computed = [d for d in dynamic if str(after[d]) not in names]
    if len(computed) > 1:
        return None
    inferred = next(iter(computed or dynamic), None)
    return [-1 if d == inferred else str(after[d]) if size is None else size for d, size in enumerate(known)]


def _same(given: list[Any], wanted: list[int | str]) -> bool:
    return all(
        edit.is_call(have, aten.sym_size.int) and _size_name(have) == want if isinstance(want, str) else have == want
        for have, want in zip(given, wanted, strict=True)
    )


def _size_name(size: fx.Node) -> str:
    return str(edit.input_node(size).meta["val"].shape[edit.arguments(size)["dim"]])


def _to_reshape(_: Graph, node: fx.Node) -> None:
    before, after = _shapes(node)
    wanted = _wanted(before, after)
    if wanted is None:
        node.target = aten.reshape.default
        return
    names, source = [str(size) for size in before], edit.input_node(node)
    sizes: list[Any] = []
    for size, value in zip(wanted, after, strict=True):
        if isinstance(size, str):
            read = edit.call_before(node, aten.sym_size.int, (source, names.index(size)))
            read.meta["val"] = value
            sizes.append(read)
        else:
            sizes.append(size)
    become(node, aten.reshape.default, source, sizes)


def _shapes(node: fx.Node) -> tuple[list[Any], list[Any]]:
    return list(edit.input_node(node).meta["val"].shape), list(node.meta["val"].shape)


def _order(node: fx.Node) -> list[int]:
    """Which dimension of the input each dimension of the result is, asked of the operator itself."""
    rank = edit.input_node(node).meta["val"].dim()
    probe = torch.empty(list(range(rank)), device="meta")  # each size is the number of its dimension
    return list(node.target(probe, *node.args[1:], **node.kwargs).shape)  # type: ignore[operator]


def _spelling(node: fx.Node) -> tuple[object, tuple[Any, ...]]:
    order = _order(node)
    moved = [d for d, source in enumerate(order) if d != source]
    if len(moved) == 2:
        return aten.transpose.int, (moved[0], moved[1])
    return aten.permute.default, (order,)


def _already(node: fx.Node) -> str:
    target, rest = _spelling(node)
    return "it is written so already" if (node.target, node.args[1:]) == (target, rest) else ""


def _to_permutation(_: Graph, node: fx.Node) -> None:
    target, rest = _spelling(node)
    become(node, target, node.args[0], *rest)  # type: ignore[arg-type]


def _moves(node: fx.Node) -> str:
    return "it moves a dimension" if _order(node) != sorted(_order(node)) else ""


RULES = (
    Rule("no permutation", calls_of(*_PERMUTATIONS), _moves, bypass),
    Rule("permutations", calls_of(*_PERMUTATIONS), _already, _to_permutation),
    Rule("view as flatten", calls_of(*_VIEWS), _not_flatten, _to_flatten),
    Rule("view as reshape", calls_of(*_VIEWS), _not_reshape, _to_reshape),
)
