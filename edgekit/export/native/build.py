"""A plan under construction: views by node, the operations so far, and the copies that bring a tensor into an order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from edgekit.export.native import words
from edgekit.export.native.attributes import Attributes
from edgekit.export.native.layout import NOTHING, Layout
from edgekit.export.native.operation import Operation, Plan
from edgekit.export.native.specialise import Fixed, tensor_of
from edgekit.export.native.view import Buffer, Element, Margins, Storage, View, dense_steps, merged
from edgekit.graph import edit

ELEMENTS = {
    torch.int8: Element.S8, torch.uint8: Element.U8, torch.int16: Element.S16, torch.int32: Element.S32,
    torch.int64: Element.S64, torch.float32: Element.F32, torch.bool: Element.BOOL,
}  # fmt: skip
MOST_DIMS = 8


@dataclass
class Builder:
    """The plan so far.

    Attributes:
        fixed, layout: what is built, and how it should lie.
        plan: what there is of it.
        views: of every node that has been built; several for a call with several results.
        images: of a buffer with margins, the image inside.
        node: the one being built; operations have its name.
        copies: copies that were inserted to bring a tensor into another order.
    """

    fixed: Fixed
    layout: Layout
    plan: Plan = field(default_factory=Plan)
    views: dict[fx.Node, Any] = field(default_factory=dict)
    images: dict[Buffer, View] = field(default_factory=dict)
    node: fx.Node | None = None
    copies: int = 0
    finished: set[fx.Node] = field(default_factory=set)
    _ordered: dict[tuple[View, tuple[int, ...], Margins], View] = field(default_factory=dict)
    _cleared: set[Buffer] = field(default_factory=set)
    _constants: dict[tuple[bytes, Element, tuple[int, ...]], View] = field(default_factory=dict)

    def view(self, argument: Any) -> View:
        """The tensor of an argument: what a node gave, or a constant."""
        if isinstance(argument, fx.Node) and argument in self.views:
            found: View = self.views[argument]
            return found
        return self.constant(tensor_of(self.fixed.argument(argument)))

    def constant(self, value: Tensor) -> View:
        """A constant, dense; equal ones are stored once."""
        array = np.ascontiguousarray(value.detach().cpu().contiguous().numpy())
        key = (array.tobytes(), ELEMENTS[value.dtype], tuple(value.shape))
        if key not in self._constants:
            buffer = Buffer(Storage.CONSTANT, len(key[0]), key[0])
            self._constants[key] = View(buffer, key[1], key[2], dense_steps(key[2], range(len(key[2]))))
        return self._constants[key]

    def emit(self, attributes: Attributes, inputs: Sequence[View | None], *outputs: View) -> None:
        """Append an operation; in front of the first that writes an image with margins, one that clears them."""
        for view in outputs:
            self._clear_margins(view.buffer)
        self.plan.operations.append(self._operation(attributes, inputs, outputs))

    def _operation(self, attributes: Attributes, inputs: Sequence[View | None], outputs: Sequence[View]) -> Operation:
        name, source = ("", "") if self.node is None else (self.node.name, edit.short_source(self.node))
        return Operation(attributes, tuple(inputs), tuple(outputs), name, source)

    def _clear_margins(self, buffer: Buffer) -> None:
        if buffer in self.images and buffer not in self._cleared:
            self._cleared.add(buffer)
            image = rows_last(self.images[buffer])
            self.plan.operations.append(self._operation(words.Halo(*buffer.margins), (), (image,)))

    def home(self, node: fx.Node, order: Sequence[int] | None = None) -> View:
        """Memory for the result of a node: in the concatenation that it joins, else a buffer of its own."""
        value = self.fixed.values[node]
        joined = self.layout.joined.get(node)
        if joined is not None:
            whole = self.whole(joined.into)
            first = whole.first + joined.offset * whole.steps[joined.dim]
            return replace(whole, sizes=tuple(value.shape), first=first)
        is_image = order is not None and tuple(order) == last_order(len(value.shape))
        margins = self.layout.margins.get(node, NOTHING) if is_image else NOTHING
        return self.fresh(tuple(value.shape), ELEMENTS[value.dtype], order, margins)

    def whole(self, node: fx.Node) -> View:
        """The memory of a concatenation, taken when its first part is written."""
        if node not in self.views:
            self.views[node] = self.home(node, last_order(len(self.fixed.sizes(node))) if self.is_last(node) else None)
        found: View = self.views[node]
        return found

    def is_last(self, node: fx.Node) -> bool:
        """Whether the result of a node should lie channels last."""
        return node in self.layout.last and len(self.fixed.sizes(node)) in (3, 4)

    def order(self, node: fx.Node) -> tuple[int, ...]:
        """The order in which the result of a node should lie."""
        rank = len(self.fixed.sizes(node))
        return last_order(rank) if self.is_last(node) else tuple(range(rank))

    def fresh(
        self, sizes: Sequence[int], element: Element, order: Sequence[int] | None = None, margins: Margins = NOTHING
    ) -> View:
        """A new tensor without gaps, but for margins around an image."""
        order = tuple(range(len(sizes))) if order is None else tuple(order)
        if not any(margins):
            size = math.prod(sizes) * element.bytes
            return View(Buffer(Storage.ARENA, size), element, tuple(sizes), dense_steps(sizes, order))
        top, left, bottom, right = margins
        outer = list(sizes)
        outer[-1] += left + right
        if len(sizes) == 4:
            outer[-2] += top + bottom
        steps = dense_steps(outer, order)
        buffer = Buffer(Storage.ARENA, math.prod(outer) * element.bytes, margins=margins)
        first = left * steps[-1] + (top * steps[-2] if len(sizes) == 4 else 0)
        view = View(buffer, element, tuple(sizes), steps, first)
        self.images[buffer] = view if len(sizes) == 4 else as_row(view)
        return view

    def ordered(self, view: View, order: Sequence[int] | None = None, margins: Margins = NOTHING) -> View:
        """The tensor without gaps in this order (torch's by default): itself, or a copy, made once."""
        order = tuple(range(len(view.sizes))) if order is None else tuple(order)
        if view.is_dense_in(order) and not any(margins):
            return view
        key = (view, order, margins)
        if key not in self._ordered:
            out = self.fresh(view.sizes, view.element, order, margins)
            self.copy(view, out)
            self.copies += 1
            self._ordered[key] = out.at(view.scale)
        return self._ordered[key]

    def copy(self, x: View, out: View) -> None:
        """Move the elements of one view into another of the same sizes."""
        self.emit(words.Copy(), *_pair(merged([x, out], out.order)))

    def elementwise(
        self, attributes: Attributes, inputs: Sequence[View], out: View, tables: Sequence[View] = ()
    ) -> None:
        """An operation of single elements: operands of one size in one order, with as few dimensions as they allow."""
        order = out.order
        ready = [self._alike(x.expanded(out.sizes), x, order) for x in inputs]
        *ready, last = merged([*ready, out], order)
        self.emit(attributes, [*ready, *tables], last)

    def _alike(self, expanded: View, x: View, order: tuple[int, ...]) -> View:
        """A full tensor that lies in another order is brought into this one."""
        if expanded.sizes == x.sizes and x.order != order and not _same_order(x, order):
            return self.ordered(x, order)
        return expanded


def _pair(views: list[View]) -> tuple[list[View], View]:
    return [views[0]], views[1]


def _same_order(view: View, order: tuple[int, ...]) -> bool:
    steps = [view.steps[d] for d in order if view.sizes[d] != 1 and view.steps[d]]
    return steps == sorted(steps, reverse=True)


def last_order(rank: int) -> tuple[int, ...]:
    """Channels last: [N, H, W, C] or [N, L, C]."""
    return (0, *range(2, rank), 1)


def rows_last(image: View) -> View:
    """An image with its dimensions as [N, H, W, C]."""
    return image.permuted((0, 2, 3, 1))


def as_row(line: View) -> View:
    """A line [N, C, L] as an image of one row."""
    (n, c, length), (a, b, step) = line.sizes, line.steps
    return replace(line, sizes=(n, c, 1, length), steps=(a, b, a, step))
