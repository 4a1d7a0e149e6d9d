"""Attention masks as truth values: True takes part. What is added to the scores is taken back to the mask behind it.

A score with -10000 or less added has weight 0 beside any other. Only a row without any other changes: written out, it
is spread over what it should not see, or not a number; here it gives 0, which is what integers do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekit.graph import edit
from edgekit.graph.canonical.formula import number
from edgekit.graph.canonical.rule import Rule, calls_of
from edgekit.graph.graph import Graph

aten = torch.ops.aten
Builder = Callable[[fx.Node], fx.Node]  # makes the mask in front of a node
ATTENTION = aten.scaled_dot_product_attention.default
HIDDEN = -1e4  # what is added to a score so that it takes no part is at most this
MOVES = (
    aten.reshape.default, aten.expand.default, aten.expand_as.default, aten.slice.Tensor, aten.select.int,
    aten.transpose.int, aten.permute.default, aten.flatten.using_ints, aten.repeat.default,
)  # fmt: skip


def keep(node: fx.Node) -> Builder | None:
    """How to make the truth values behind a mask that is added to scores; None where it may hold other numbers."""
    value = node.meta["val"]
    if value.dtype == torch.bool:
        return lambda _: node
    if node.op == "get_attr":
        return _stored(node)
    if edit.is_call(node, *MOVES):
        return _moved(node, keep(edit.input_node(node)))
    if edit.is_call(node, aten.to.dtype) and value.is_floating_point():
        source = edit.input_node(node)
        return keep(source) if source.meta["val"].is_floating_point() else None
    if edit.is_call(node, aten.add.Tensor) and all(isinstance(part, fx.Node) for part in node.args):
        return _both(*(keep(edit.operand(node, index)) for index in (0, 1)))
    if edit.is_call(node, aten.mul.Tensor):
        return _inverted(node)
    return chosen(node, is_zero)


def chosen(node: fx.Node, rest: Callable[[Any], bool]) -> Builder | None:
    """The truth values of a call that puts a very negative number in the place of what is hidden, else ``rest``."""
    if edit.is_call(node, aten.masked_fill.Scalar, aten.masked_fill.Tensor):
        source, mask, value = node.args
        return hidden_where(mask) if rest(source) and _hides(value) else None
    if not edit.is_call(node, aten.where.self, aten.where.ScalarOther, aten.where.ScalarSelf, aten.where.Scalar):
        return None
    mask, yes, no = node.args
    if rest(yes) and _hides(no):
        return lambda _: mask  # type: ignore[return-value]
    return hidden_where(mask) if rest(no) and _hides(yes) else None


def hidden_where(mask: Any) -> Builder:
    """Truth values from a mask that is True where something is hidden."""
    return lambda at: edit.call_before(at, aten.logical_not.default, (mask,))


def _both(first: Builder | None, second: Builder | None) -> Builder | None:
    if first is None or second is None:
        return None
    return lambda at: edit.call_before(at, aten.logical_and.default, (first(at), second(at)))


def _moved(node: fx.Node, inner: Builder | None) -> Builder | None:
    if inner is None:
        return None
    return lambda at: edit.call_before(at, node.target, (inner(at), *node.args[1:]))  # type: ignore[arg-type]


def _inverted(node: fx.Node) -> Builder | None:
    """``(1 - mask) * -10000`` with a mask of ones and zeros, as older models of text write it."""
    difference, factor = node.args
    if not edit.is_call(difference, aten.rsub.Scalar) or not _hides(factor):
        return None
    assert isinstance(difference, fx.Node)
    parts = edit.arguments(difference)
    if (parts["other"], parts["alpha"]) != (1, 1):
        return None
    return lambda at: edit.call_before(at, aten.ne.Scalar, (parts["self"], 0))


def _stored(node: fx.Node) -> Builder | None:
    value = _constant(node)
    if value is None or not bool(((value == 0) | (value <= HIDDEN)).all()):
        return None
    module = node.graph.owning_module
    assert module is not None
    return lambda at: edit.add_tensor(module, f"{node.target}_keep", value == 0, before=at)


def _constant(node: Any) -> Tensor | None:
    if not isinstance(node, fx.Node) or node.op != "get_attr" or node.graph.owning_module is None:
        return None
    value = edit.get_attribute(node.graph.owning_module, str(node.target))
    return value if isinstance(value, Tensor) and not isinstance(value, nn.Parameter) else None


def _hides(value: Any) -> bool:
    stored = _constant(value)
    if stored is not None:
        return stored.numel() > 0 and bool((stored <= HIDDEN).all())
    if edit.is_call(value, aten.full_like.default, aten.full.default):
        return _hides(edit.arguments(value)["fill_value"])
    if edit.is_call(value, aten.expand.default):
        return _hides(edit.input_node(value))
    plain = number(value)
    return plain is not None and plain <= HIDDEN


def is_zero(value: Any) -> bool:
    """Whether an argument is 0 everywhere."""
    if edit.is_call(value, aten.zeros.default, aten.zeros_like.default, aten.new_zeros.default):
        return True
    stored = _constant(value)
    return not bool(stored.any()) if stored is not None else number(value) == 0.0


def _mask(node: fx.Node) -> fx.Node | None:
    mask = edit.arguments(node)["attn_mask"]
    return mask if isinstance(mask, fx.Node) else None


def _not_truth(node: fx.Node) -> str:
    mask = _mask(node)
    if mask is None or mask.meta["val"].dtype == torch.bool:
        return "it has no mask that is added"
    return "" if keep(mask) is not None else "its mask holds more than 0 and very negative numbers"


def _to_truth(_: Graph, node: fx.Node) -> None:
    mask = _mask(node)
    build = keep(mask) if mask is not None else None
    assert build is not None
    edit.set_argument(node, "attn_mask", build(node))


RULES = (Rule("mask as truth values", calls_of(ATTENTION), _not_truth, _to_truth, reshapes=True),)
