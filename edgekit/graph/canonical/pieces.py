"""``slice`` and ``select`` for whatever takes a tensor apart, one call for each piece that is read."""

from __future__ import annotations

import operator
from itertools import accumulate
from typing import Any

import torch
from torch import fx

from edgekit.graph import edit
from edgekit.graph.canonical.rule import Rule, always, become, calls_of
from edgekit.graph.graph import Graph, known_size

aten = torch.ops.aten
_ALONG_LAST_BUT = {aten.hsplit.int: 1, aten.hsplit.array: 1, aten.vsplit.int: 0, aten.vsplit.array: 0,
                   aten.dsplit.int: 2, aten.dsplit.array: 2}  # fmt: skip
_SPLITS = (
    aten.split.Tensor, aten.split.sizes, aten.split_with_sizes.default, aten.unsafe_split.Tensor,
    aten.unsafe_split_with_sizes.default, aten.chunk.default, aten.unsafe_chunk.default, aten.tensor_split.sections,
    aten.tensor_split.indices, aten.unbind.int, *_ALONG_LAST_BUT,
)  # fmt: skip


def _is_piece(node: fx.Node) -> bool:
    return node.target is operator.getitem and edit.is_call(node.args[0], *_SPLITS)


def _whole(node: fx.Node) -> fx.Node:
    split = node.args[0]
    assert isinstance(split, fx.Node)
    return split


def _dim(split: fx.Node) -> int:
    rank: int = edit.input_node(split).meta["val"].dim()
    if split.target in _ALONG_LAST_BUT:
        return _ALONG_LAST_BUT[split.target] if rank > 1 else 0
    return int(edit.arguments(split)["dim"]) % rank


def _dynamic_piece(node: fx.Node) -> str:
    split = _whole(node)
    source, pieces = edit.input_node(split).meta["val"], split.meta["val"]
    sizes = [source.shape[_dim(split)]]
    if split.target is not aten.unbind.int:
        sizes += [piece.shape[_dim(split)] for piece in pieces]
    return "" if all(known_size(size) is not None for size in sizes) else "it splits a dynamic dimension"


def _to_piece(_: Graph, node: fx.Node) -> None:
    split, index = _whole(node), int(node.args[1])  # type: ignore[arg-type]
    source, dim, pieces = edit.input_node(split), _dim(split), split.meta["val"]
    index %= len(pieces)
    if split.target is aten.unbind.int:
        become(node, aten.select.int, source, dim, index)
        return
    ends = list(accumulate(int(piece.shape[dim]) for piece in pieces))
    become(node, aten.slice.Tensor, source, dim, ends[index] - int(pieces[index].shape[dim]), ends[index])


def _not_narrow(node: fx.Node) -> str:
    parts = edit.arguments(node)
    if not isinstance(parts["start"], int) or not isinstance(parts["length"], int):
        return "its place is computed"
    return "" if known_size(_size(node)) is not None or parts["start"] >= 0 else "it counts from a dynamic end"


def _narrow_to_slice(_: Graph, node: fx.Node) -> None:
    parts, size = edit.arguments(node), known_size(_size(node))
    start = parts["start"] % size if size else parts["start"]
    become(node, aten.slice.Tensor, node.args[0], parts["dim"], start, start + parts["length"])


def _size(node: fx.Node) -> Any:
    """The size of the dimension that a slice, select or narrow cuts."""
    return edit.input_node(node).meta["val"].shape[edit.arguments(node)["dim"]]


def _normal_slice(node: fx.Node) -> tuple[Any, ...] | str:
    """Dimension, start, end and, where it is not 1, step, counted from the front; or why that cannot be said."""
    parts, size = edit.arguments(node), known_size(_size(node))
    numbers = (parts["start"], parts["end"], parts["step"])
    if size is None or not all(part is None or isinstance(part, int) for part in numbers):
        return "its place is dynamic"
    start, end, step = slice(*numbers).indices(size)
    dim = parts["dim"] % edit.input_node(node).meta["val"].dim()
    return (dim, start, max(start, end)) + ((step,) if step != 1 else ())


def _slice_stays(node: fx.Node) -> str:
    wanted = _normal_slice(node)
    return wanted if isinstance(wanted, str) else "it is written so already" if node.args[1:] == wanted else ""


def _to_normal_slice(_: Graph, node: fx.Node) -> None:
    become(node, aten.slice.Tensor, node.args[0], *_normal_slice(node))


def _normal_select(node: fx.Node) -> tuple[int, int] | str:
    parts, size = edit.arguments(node), known_size(_size(node))
    if not isinstance(parts["index"], int) or (size is None and parts["index"] < 0):
        return "its place is dynamic"
    index = parts["index"] % size if size else parts["index"]
    return parts["dim"] % edit.input_node(node).meta["val"].dim(), index


def _select_stays(node: fx.Node) -> str:
    wanted = _normal_select(node)
    return wanted if isinstance(wanted, str) else "it is written so already" if node.args[1:] == wanted else ""


def _to_normal_select(_: Graph, node: fx.Node) -> None:
    become(node, aten.select.int, node.args[0], *_normal_select(node))


def _stack_to_cat(_: Graph, node: fx.Node) -> None:
    parts = edit.arguments(node)
    dim = parts["dim"] % node.meta["val"].dim()
    rows = [edit.call_before(node, aten.unsqueeze.default, (source, dim)) for source in parts["tensors"]]
    become(node, aten.cat.default, rows, dim)


def _to_cat(_: Graph, node: fx.Node) -> None:
    node.target = aten.cat.default


RULES = (
    Rule("split as slices", _is_piece, _dynamic_piece, _to_piece),
    Rule("narrow as slice", calls_of(aten.narrow.default), _not_narrow, _narrow_to_slice),
    Rule("slices from the front", calls_of(aten.slice.Tensor), _slice_stays, _to_normal_slice),
    Rule("selects from the front", calls_of(aten.select.int), _select_stays, _to_normal_select),
    Rule("stack as concatenation", calls_of(aten.stack.default), always, _stack_to_cat, reshapes=True),
    Rule("names of concatenation", calls_of(aten.concat.default, aten.concatenate.default), always, _to_cat),
)
