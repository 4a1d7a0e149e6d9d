"""Attention written out, ``softmax(q @ k^T * scale + mask) @ v``, as the one operator it is.

Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.2.1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import fx

from edgekit.graph import edit
from edgekit.graph.canonical import masks
from edgekit.graph.canonical.formula import number
from edgekit.graph.canonical.rule import Rule
from edgekit.graph.graph import Graph

aten = torch.ops.aten
_MOVES = (aten.reshape.default, aten.transpose.int, aten.permute.default, aten.flatten.using_ints)


@dataclass
class _Attention:
    """What a written-out attention computes from; ``key`` is transposed, [..., d, T]."""

    query: fx.Node
    key: fx.Node
    value: fx.Node
    dropout: float
    scale: float = 1.0
    truths: list[masks.Builder] = field(default_factory=list)
    added: list[fx.Node] = field(default_factory=list)
    factors: list[fx.Node] = field(default_factory=list)  # of q and k, which the scale takes over


def _softmax(node: fx.Node) -> tuple[fx.Node, float] | None:
    """The softmax whose result ``node`` multiplies with values, and the dropout between them."""
    weights, dropout = edit.input_node(node), 0.0
    if edit.is_call(weights, aten.dropout.default) and len(weights.users) == 1:
        weights, dropout = edit.input_node(weights), float(edit.arguments(weights)["p"])
    return (weights, dropout) if edit.is_call(weights, aten.softmax.int) else None


def _is_attention(node: fx.Node) -> bool:
    return edit.is_call(node, aten.matmul.default) and _softmax(node) is not None


def _read(node: fx.Node) -> _Attention | str:
    """The parts of the attention that ends in ``node``, or why it is not one."""
    softmax, dropout = _softmax(node)  # type: ignore[misc]
    scores, rank = edit.input_node(softmax), softmax.meta["val"].dim()
    if len(softmax.users) > 1:
        return "its weights are read elsewhere, too"
    if edit.arguments(softmax)["dim"] % rank != rank - 1 or softmax.meta["val"].dtype != scores.meta["val"].dtype:
        return "its softmax is over another dimension, or changes the type"
    found = _Attention(scores, scores, edit.operand(node, 1), dropout)
    return _read_scores(scores, found) or _mismatch(found) or found


def _read_scores(node: fx.Node, found: _Attention) -> str:
    """Walk from the softmax to the product of queries and keys, through masks and scales; why that fails."""
    while not edit.is_call(node, aten.matmul.default):
        if len(node.users) > 1:
            return "its scores are read elsewhere, too"
        if _is_biased_product(node) and found.scale == 1.0:
            found.added.append(edit.input_node(node))
            break
        inner = _unscaled(node, found) or _unmasked(node, found)
        if inner is None:
            return f"{node.name} between product and softmax is neither scale nor mask"
        node = inner
    if len(node.users) > 1:
        return "its scores are read elsewhere, too"
    found.query, found.key = (edit.operand(node, index) for index in (-2, -1))
    for operand in (found.query, found.key):
        _take_factors(operand, found)
    return ""


def _is_biased_product(node: fx.Node) -> bool:
    if not edit.is_call(node, aten.baddbmm.default):
        return False
    parts = edit.arguments(node)
    return bool(parts["beta"] == 1 and parts["alpha"] == 1)


def _unscaled(node: fx.Node, found: _Attention) -> fx.Node | None:
    """The scores in front of a multiplication or division by a number."""
    factor = _factor(node)
    if factor is None:
        return None
    found.scale *= factor
    return edit.input_node(node)


def _factor(node: fx.Node) -> float | None:
    if not edit.is_call(node, aten.mul.Tensor, aten.div.Tensor):
        return None
    plain = number(node.args[1])
    if not plain:
        return None
    return plain if node.target is aten.mul.Tensor else 1.0 / plain


def _unmasked(node: fx.Node, found: _Attention) -> fx.Node | None:
    """The scores in front of a mask."""
    scores: list[fx.Node] = []

    def is_scores(value: object) -> bool:
        scores.append(value)  # type: ignore[arg-type]
        return isinstance(value, fx.Node) and _leads_to_product(value)

    truths = masks.chosen(node, is_scores)
    if truths is not None:
        found.truths.append(truths)
        return scores[-1]
    if found.scale != 1.0 or not edit.is_call(node, aten.add.Tensor) or node.kwargs or len(node.args) != 2:
        return None  # what is added in front of a scale is scaled, too
    for inner, mask in (node.args, node.args[::-1]):
        if isinstance(inner, fx.Node) and isinstance(mask, fx.Node) and _leads_to_product(inner):
            found.added.append(mask)
            return inner
    return None


def _leads_to_product(node: fx.Node) -> bool:
    """Whether scores come from a product, at once or through scales and masks."""
    waiting = [node]
    while waiting:
        here = waiting.pop()
        if edit.is_call(here, aten.matmul.default, aten.baddbmm.default):
            return True
        steps = (aten.mul.Tensor, aten.div.Tensor, aten.add.Tensor, aten.masked_fill.Scalar, aten.masked_fill.Tensor,
                 aten.where.self, aten.where.ScalarOther, aten.where.ScalarSelf)  # fmt: skip
        if edit.is_call(here, *steps):
            waiting += here.all_input_nodes
    return False


def _take_factors(node: fx.Node, found: _Attention) -> None:
    """Let the scale take over what multiplies queries or keys in front of their moves."""
    while len(node.users) == 1:
        factor = _factor(node)
        if factor is not None:
            found.scale *= factor
            found.factors.append(node)
        elif not edit.is_call(node, *_MOVES):
            return
        node = edit.input_node(node)


def _mismatch(found: _Attention) -> str:
    shapes = [list(part.meta["val"].shape) for part in (found.query, found.key, found.value)]
    outer = {tuple(str(size) for size in shape[:-2]) for shape in shapes}
    if len(outer) > 1 or len(shapes[0]) < 3:
        return "queries, keys and values differ in their outer dimensions"
    return ""


def _why_not(node: fx.Node) -> str:
    found = _read(node)
    return found if isinstance(found, str) else ""


def _to_attention(graph: Graph, node: fx.Node) -> None:
    found = _read(node)
    assert isinstance(found, _Attention)
    key = _transposed(found.key)
    for factor in found.factors:
        replaced = edit.input_node(factor)
        found.query = replaced if found.query is factor else found.query
        key = replaced if key is factor else key
        factor.replace_all_uses_with(replaced)
    mask = _mask(found, node)
    node.target, node.kwargs = masks.ATTENTION, {"scale": found.scale}
    node.args = (found.query, key, found.value) + ((mask,) if mask is not None else ())
    if found.dropout:
        edit.set_argument(node, "dropout_p", 0.0)
        graph.attention_dropout[node.name] = found.dropout


def _transposed(node: fx.Node) -> fx.Node:
    """The keys [..., T, d] behind ``node``, [..., d, T]."""
    rank = node.meta["val"].dim()
    if edit.is_call(node, aten.transpose.int) and node.args[1:] == (rank - 2, rank - 1):
        return edit.input_node(node)
    return edit.call_after(node, aten.transpose.int, (node, rank - 2, rank - 1))


def _mask(found: _Attention, at: fx.Node) -> fx.Node | None:
    """One mask of all: truth values where all are, else numbers to add."""
    builders = [masks.keep(added) for added in found.added]
    truths = found.truths + [build for build in builders if build is not None]
    numbers = [added for added, build in zip(found.added, builders, strict=True) if build is None]
    kept = [build(at) for build in truths]
    keep = kept[0] if kept else None
    for other in kept[1:]:
        keep = edit.call_before(at, aten.logical_and.default, (keep, other))
    if not numbers:
        return keep
    total = numbers[0]
    for other in numbers[1:]:
        total = edit.call_before(at, aten.add.Tensor, (total, other))
    return total if keep is None else edit.call_before(at, aten.where.ScalarOther, (keep, total, -torch.inf))


RULES = (Rule("attention", _is_attention, _why_not, _to_attention, reshapes=True),)
