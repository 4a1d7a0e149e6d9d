"""Operators that move bytes: a view where steps can say it, else copies, and a table where nothing else does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from edgekit.export.native import words
from edgekit.export.native.build import ELEMENTS, Builder
from edgekit.export.native.layout import PAD
from edgekit.export.native.movers import FILL, Piece, Selection, affine, pieces
from edgekit.export.native.view import View, in_order, merged
from edgekit.graph import edit, kinds

aten = torch.ops.aten
PADS = (PAD, aten.pad.default)
MOVERS = frozenset(kinds.MOVES) - {
    aten.max_pool2d.default, aten.max_pool1d.default, aten.max_pool3d.default, aten.amax.default, aten.amin.default,
} | {
    aten.cat.default, aten.stack.default, aten.clone.default, aten.contiguous.default, aten.alias.default,
    aten.narrow.default, aten.view.default, aten.t.default, aten.movedim.int, aten.detach.default,
    aten._unsafe_view.default, aten.view_as.default, aten.lift_fresh_copy.default,
}  # fmt: skip
INDEXED = (aten.index.Tensor, aten.index_select.default, aten.gather.default)
OUTSIDE = 300.0  # a constant byte b is the number -(b + OUTSIDE); elements are counted from 1, and 0 is the byte 0


def rule_of(builder: Builder, node: fx.Node) -> Any:
    """The rule for a mover whose indices are known, or that takes whole rows by an index; None for any other call."""
    if node.target not in MOVERS:
        return None
    parts = edit.arguments(node)
    if node.target in INDEXED:
        if node.target is aten.index.Tensor:
            indices = parts["indices"]
            if not all(index is None or builder.fixed.is_constant(index) for index in indices):
                return rows_by_index if _takes_rows(builder, indices) else None
        elif not builder.fixed.is_constant(parts["index"]):
            return None
    return move


def _takes_rows(builder: Builder, indices: list[Any]) -> bool:
    return len(indices) == 1 and builder.fixed.values[indices[0]].dtype in (torch.int64, torch.int32)


def rows_by_index(builder: Builder, node: fx.Node) -> View:
    """``x[index]`` along the first dimension."""
    parts = edit.arguments(node)
    return _take(builder, node, parts["self"], parts["indices"][0])


def embedding(builder: Builder, node: fx.Node) -> View:
    """Rows of a table."""
    parts = edit.arguments(node)
    return _take(builder, node, parts["weight"], parts["indices"])


def _take(builder: Builder, node: fx.Node, x: Any, index: Any) -> View:
    operands = [builder.ordered(builder.view(value)) for value in (x, index)]
    out = builder.home(node)
    builder.emit(words.Take(), operands, out)
    return out


def reinterpreted(builder: Builder, node: fx.Node) -> View:
    """int8 seen as uint8, or back."""
    return replace(builder.view(edit.input_node(node)), element=ELEMENTS[builder.fixed.values[node].dtype])


def concatenation(builder: Builder, node: fx.Node) -> View:
    """What does not lie in the result already is copied into it."""
    parts = edit.arguments(node)
    if node not in builder.views and not any(j.into is node for j in builder.layout.joined.values()):
        return move(builder, node)
    whole = builder.whole(node)
    dim, offset = builder.fixed.argument(parts["dim"]) % len(whole.sizes), 0
    for tensor in parts["tensors"]:
        part = builder.view(tensor)
        if tensor not in builder.layout.joined or builder.layout.joined[tensor].into is not node:
            out = replace(whole, sizes=part.sizes, first=whole.first + offset * whole.steps[dim])
            builder.copy(part, out)
        offset += part.sizes[dim]
    return whole


def move(builder: Builder, node: fx.Node) -> View:
    """Any mover, by running it on the numbers of elements."""
    sources, selection = select(builder, node)
    element = ELEMENTS[builder.fixed.values[node].dtype]
    view = _alias(sources, selection, element) if node not in builder.layout.joined else None
    if view is not None:
        return view
    out = builder.home(node, builder.order(node))
    found = pieces(selection)
    if found is None:
        _gather(builder, sources, selection, out)
        return out
    _fill(builder, selection, out)
    for piece in found:
        _copy(builder, sources[piece.source], piece, out)
    return out


def select(builder: Builder, node: fx.Node) -> tuple[list[View], Selection]:
    """The tensors that a mover reads, and where each element of the result comes from."""
    sources, begins, total = list[View](), list[int](), 1

    def numbered(argument: fx.Node) -> Any:
        nonlocal total
        value = builder.fixed.values[argument]
        if not isinstance(value, Tensor) or (builder.fixed.is_constant(argument) and not _is_data(argument, node)):
            return value
        sources.append(builder.view(argument))
        begins.append(total)
        total += value.numel()
        return torch.arange(begins[-1], total, dtype=torch.float64).reshape(value.shape)

    args, kwargs = fx.map_arg((node.args, node.kwargs), numbered)
    value = builder.fixed.values[node]
    filler = None
    if value.dtype not in (torch.int8, torch.uint8, torch.bool) and _filler(node):
        sources.append(builder.constant(torch.tensor(_filler(node), dtype=value.dtype)))
        begins.append(total)
        filler = float(total)
    with torch.no_grad():
        numbers = edit.overload(node)(*_marked(node, args, filler), **kwargs)
    return sources, _selection(sources, begins, numbers.numpy())


def _is_data(argument: fx.Node, node: fx.Node) -> bool:
    """Whether a constant is moved, and is no index."""
    index = edit.arguments(node).get("index") is argument or node.target is aten.index.Tensor
    return not (index and argument is not node.args[0])


def _filler(node: fx.Node) -> Any:
    """The number that a pad writes around its tensor; 0 for other movers."""
    return edit.arguments(node)["value"] or 0 if node.target in PADS else 0


def _marked(node: fx.Node, args: tuple[Any, ...], filler: float | None) -> tuple[Any, ...]:
    """A pad's value becomes the number of the element that holds it, or the one that stands for that byte."""
    at = {PAD: 2, aten.pad.default: 3}.get(node.target)  # type: ignore[call-overload]
    if at is None or len(args) <= at or args[at] is None:
        return args
    number = -(float(args[at]) + OUTSIDE) if filler is None else filler
    return (*args[:at], number, *args[at + 1 :])


def _selection(sources: list[View], begins: list[int], numbers: Any) -> Selection:
    whole = np.asarray(numbers).round().astype(np.int64)
    source = np.searchsorted(np.array(begins), whole, side="right") - 1
    place = np.zeros_like(whole)
    for number, (view, begin) in enumerate(zip(sources, begins, strict=True)):
        mine = source == number
        place[mine] = view.places().reshape(-1)[whole[mine] - begin]
    constant = whole <= 0
    place[constant] = np.where(whole[constant] == 0, 0, -whole[constant] - int(OUTSIDE))
    source[constant] = FILL
    return Selection(source, place)


def _alias(sources: list[View], selection: Selection, element: Any) -> View | None:
    """The result as a view of its one source."""
    if selection.source.size == 0 or (selection.source != selection.source.flat[0]).any():
        return None
    if selection.source.flat[0] == FILL:
        return None
    found = affine(selection.place)
    if found is None or min(found[1], default=0) < 0:
        return None
    view = sources[int(selection.source.flat[0])]
    steps = _with_ones(view, selection.place.shape, found[1])
    return replace(view, element=element, sizes=selection.place.shape, steps=steps, first=found[0])


def _with_ones(view: View, sizes: tuple[int, ...], steps: tuple[int, ...]) -> tuple[int, ...]:
    """Steps of dimensions of size 1, which mean nothing, as if the next one inside were counted on."""
    if sizes == view.sizes:
        return tuple(old if n == 1 else s for n, s, old in zip(sizes, steps, view.steps, strict=True))
    found, order = list(steps), in_order(sizes, steps)
    inner = 1
    for d in reversed(order):
        found[d] = inner if sizes[d] == 1 else steps[d]
        inner = max(inner, found[d] * sizes[d])
    return tuple(found)


def _fill(builder: Builder, selection: Selection, out: View) -> None:
    constants = np.unique(selection.place[selection.source == FILL])
    assert len(constants) <= 1, "one mover fills with one byte"
    for byte in constants:
        builder.emit(words.Fill(int(byte)), [], merged([out], out.order)[0])


def _copy(builder: Builder, source: View, piece: Piece, out: View) -> None:
    first = out.first + sum(b * s for b, s in zip(piece.begin, out.steps, strict=True))
    steps = tuple(w * out.steps[d] for w, d in zip(piece.within, piece.dims, strict=True))
    x = View(source.buffer, out.element, piece.sizes, piece.steps, piece.first)
    builder.copy(x, View(out.buffer, out.element, piece.sizes, steps, first))


def _gather(builder: Builder, sources: list[View], selection: Selection, out: View) -> None:
    """By a table of places in what the sources span; several sources are put behind each other first."""
    if len(sources) > 1:
        sources, selection = _side_by_side(builder, sources, selection)
    (view,), taken = sources, selection.place[selection.source != FILL]
    begin = int(taken.min()) if taken.size else view.first
    span = (int(taken.max()) if taken.size else begin) - begin + 1
    index = np.where(selection.source == FILL, -1, selection.place - begin).astype(np.int32)
    bytes_ = np.unique(selection.place[selection.source == FILL])
    x = View(view.buffer, out.element, (span,), (1,), begin)
    order = out.order
    dense = builder.fresh(out.sizes, out.element, order)
    table = builder.constant(torch.from_numpy(np.ascontiguousarray(index.transpose(order)).reshape(-1)))
    attributes = words.Gather(int(bytes_[0]) if len(bytes_) else 0)
    target = out if out.is_dense_in(order) else dense
    builder.emit(attributes, [x, table], *merged([target], order))
    if target is dense:
        builder.copy(dense, out)


def _side_by_side(builder: Builder, sources: list[View], selection: Selection) -> tuple[list[View], Selection]:
    dense = [builder.ordered(view) for view in sources]
    joined = builder.fresh((sum(view.count for view in dense),), dense[0].element)
    place, begin = selection.place.copy(), 0
    for number, (view, source) in enumerate(zip(dense, sources, strict=True)):
        flat = view.reshaped((view.count,))
        assert flat is not None
        builder.copy(flat, replace(joined, sizes=flat.sizes, first=begin))
        places, mine = source.places().reshape(-1), selection.source == number
        order = np.argsort(places, kind="stable")
        place[mine] = begin + order[np.searchsorted(places[order], selection.place[mine])]
        begin += view.count
    return [joined], Selection(np.where(selection.source == FILL, FILL, 0), place)
