"""What a float mask adds to the scores of an attention, in two parts: truth values, and finite numbers.

One scale holds either numbers of the size of scores or -10000, not both: what hides a score becomes a mask of bool.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from edgekit.graph import edit
from edgekit.graph.canonical import masks
from edgekit.graph.graph import Graph

aten = torch.ops.aten
_FAR = 100  # below the largest of its row: exp(-100) is 0 beside any weight, as in the windows of Swin
_FILLS = (aten.masked_fill.Scalar, aten.masked_fill.Tensor, aten.where.self, aten.where.ScalarOther, aten.full.default)
_THROUGH = (*masks.MOVES, *_FILLS, aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.to.dtype)


class Parts(NamedTuple):
    """How to make the truth values (True takes part) and the numbers in front of a node; None where there are none."""

    keep: masks.Builder | None
    numbers: masks.Builder | None


def parts(graph: Graph, mask: fx.Node) -> Parts | str:
    """Take a mask apart, or say why its numbers may not be told from what hides a score."""
    keep = masks.keep(mask)
    if keep is not None:
        return Parts(keep, None)
    if mask.op == "get_attr":
        return _stored(graph, mask)
    if edit.is_call(mask, *masks.MOVES):
        inner = parts(graph, edit.input_node(mask))
        return inner if isinstance(inner, str) else Parts(*(part and _moved(mask, part) for part in inner))
    if edit.is_call(mask, aten.add.Tensor) and all(isinstance(part, fx.Node) for part in mask.args):
        sides = [parts(graph, edit.operand(mask, index)) for index in (0, 1)]
        return next((side for side in sides if isinstance(side, str)), None) or _sum(*sides)  # type: ignore[arg-type]
    return _filled(graph, mask) or _computed(mask)


def _stored(graph: Graph, mask: fx.Node) -> Parts:
    values = edit.get_tensor(graph.module, mask).detach()
    row = values.amax(-1, keepdim=True) if values.dim() else values
    hidden = (values <= masks.HIDDEN) | (values <= row - _FAR)
    numbers = values.masked_fill(hidden, 0.0)
    return Parts(
        _adding(graph, f"{mask.target}_keep", ~hidden) if bool(hidden.any()) else None,
        _adding(graph, f"{mask.target}_numbers", numbers) if bool(numbers.any()) else None,
    )


def _adding(graph: Graph, name: str, value: Tensor) -> masks.Builder:
    return lambda at: edit.add_tensor(graph.module, name, value, before=at)


def _moved(mask: fx.Node, inner: masks.Builder) -> masks.Builder:
    return lambda at: edit.call_before(at, mask.target, (inner(at), *mask.args[1:]))  # type: ignore[arg-type]


def _sum(first: Parts, second: Parts) -> Parts:
    return Parts(
        _both(aten.logical_and.default, first.keep, second.keep),
        _both(aten.add.Tensor, first.numbers, second.numbers),
    )


def _both(
    target: Callable[..., Any], first: masks.Builder | None, second: masks.Builder | None
) -> masks.Builder | None:
    if first is None or second is None:
        return first or second
    return lambda at: edit.call_before(at, target, (first(at), second(at)))


def _filled(graph: Graph, mask: fx.Node) -> Parts | str | None:
    """Numbers in which something very negative stands where a score is hidden."""
    inner = list[Any]()

    def is_rest(value: Any) -> bool:
        inner.append(value)
        return isinstance(value, fx.Node)

    keep = masks.chosen(mask, is_rest)
    if keep is None:
        return None
    rest = parts(graph, inner[-1])
    return rest if isinstance(rest, str) else _sum(Parts(keep, None), rest)


def _computed(mask: fx.Node) -> Parts | str:
    """Numbers as they are, unless they come from an input or are filled in, and might hide something."""
    waiting, seen = [mask], {mask}
    while waiting:
        node = waiting.pop()
        if node.op == "placeholder" or edit.is_call(node, *_FILLS):
            return "its mask may hold any numbers: only truth values or finite numbers have an integer form"
        if edit.is_call(node, *_THROUGH):
            waiting += [source for source in node.all_input_nodes if source not in seen]
            seen.update(node.all_input_nodes)
    return Parts(None, lambda _: mask)
