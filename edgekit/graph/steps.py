"""Operators that have an integer form in steps, taken apart before scales are given to each step.

The same rules as in :mod:`edgekit.graph.canonical`, but for graphs that are not trained any more: parameters are plain
numbers here, and batch norm is in inference. What each rule writes computes the same to a few units in the last place.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekit.graph import edit
from edgekit.graph.canonical import masks
from edgekit.graph.canonical.norms import l2
from edgekit.graph.canonical.padding import ONE_SIDED
from edgekit.graph.canonical.rule import Rule, always, apply, become, calls_of
from edgekit.graph.graph import Graph, known_size
from edgekit.graph.shapes import propagate_shapes

aten, own = torch.ops.aten, torch.ops.edgekit


def in_steps(graph: Graph) -> Graph:
    """A copy of ``graph`` in inference, with every rule applied once."""
    graph = graph.copy().eval()
    for rule in RULES:
        if apply(rule, graph):
            edit.drop_dead(graph.module)
            propagate_shapes(graph)
    edit.clean(graph.module)
    return graph


def _call(before: fx.Node, target: Any, *args: Any) -> fx.Node:
    return edit.call_before(before, target, args)


def _rank(node: fx.Node) -> int:
    rank: int = edit.input_node(node).meta["val"].dim()
    return rank


def _is_stored(node: object) -> bool:
    return isinstance(node, fx.Node) and node.op == "get_attr"


def _stored(graph: Graph, node: Any) -> Tensor | None:
    return edit.get_tensor(graph.module, node).detach() if _is_stored(node) else None


def _store(graph: Graph, before: fx.Node, name: str, value: Tensor) -> fx.Node:
    """A parameter in the place of another one, or of several."""
    return edit.add_tensor(graph.module, f"{before.name}.{name}", nn.Parameter(value.contiguous(), False), before)


def _not_last(node: fx.Node) -> str:
    rank = _rank(node)
    return "it is over the last axis" if edit.arguments(node)["dim"] % rank == rank - 1 else ""


def _softmax_over_last(_: Graph, node: fx.Node) -> None:
    parts, last = edit.arguments(node), _rank(node) - 1
    turned = _call(node, aten.transpose.int, parts["self"], parts["dim"] % (last + 1), last)
    result = _call(node, aten.softmax.int, turned, -1, parts["dtype"])
    become(node, aten.transpose.int, result, parts["dim"] % (last + 1), last)


def _is_l2(node: fx.Node) -> bool:
    return l2(node) is not None


def _l2_over_last(_: Graph, node: fx.Node) -> None:
    norm, last = l2(node), node.meta["val"].dim() - 1
    assert norm is not None
    turned = _call(node, aten.transpose.int, norm.x, norm.axis, last)
    become(node, aten.transpose.int, _call(node, own.l2_norm.default, turned, norm.eps), norm.axis, last)


def _dynamic_halves(node: fx.Node) -> str:
    size = edit.input_node(node).meta["val"].shape[edit.arguments(node)["dim"]]
    return "" if known_size(size) is not None else "its halves are dynamic"


def _gate(_: Graph, node: fx.Node) -> None:
    source, dim = edit.input_node(node), edit.arguments(node)["dim"] % _rank(node)
    half = int(source.meta["val"].shape[dim]) // 2
    values, gates = (_call(node, aten.slice.Tensor, source, dim, half * i, half * (i + 1)) for i in (0, 1))
    become(node, aten.mul.Tensor, values, _call(node, aten.sigmoid.default, gates))


def _weighted_sum(node: fx.Node) -> str:
    parts = edit.arguments(node)
    return "" if parts["beta"] == parts["alpha"] == 1 else "it weighs its summands"


def _product_and_sum(_: Graph, node: fx.Node) -> None:
    added, first, second = node.args
    become(node, aten.add.Tensor, _call(node, aten.matmul.default, first, second), added)


def _is_by_matrix(node: fx.Node) -> bool:
    return edit.is_call(node, aten.matmul.default) and _is_stored(node.args[1]) and _rank(node) >= 2


def _many_matrices(node: fx.Node) -> str:
    return "" if edit.operand(node, 1).meta["val"].dim() <= 2 else "the stored matrix differs along the batch"


def _to_layer(graph: Graph, node: fx.Node) -> None:
    """``x @ W`` with a stored W, or a stored vector, is a layer: one scale for each output channel."""
    matrix = _stored(graph, node.args[1])
    assert matrix is not None
    weight = _store(graph, node, "weight", matrix.t() if matrix.dim() == 2 else matrix.unsqueeze(0))
    if matrix.dim() == 2:
        become(node, aten.linear.default, node.args[0], weight)
    else:
        become(node, aten.squeeze.dim, _call(node, aten.linear.default, node.args[0], weight), -1)


def _is_by_vector(node: fx.Node) -> bool:
    return edit.is_call(node, aten.matmul.default) and edit.operand(node, 1).meta["val"].dim() == 1 and _rank(node) > 1


def _to_column(_: Graph, node: fx.Node) -> None:
    column = _call(node, aten.unsqueeze.default, node.args[1], 1)
    become(node, aten.squeeze.dim, _call(node, aten.matmul.default, node.args[0], column), -1)


def _biased(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """The linear without a bias and the stored vector that ``node`` adds."""
    if not edit.is_call(node, aten.add.Tensor) or len(node.args) != 2 or node.kwargs:
        return None
    for layer, bias in (node.args, node.args[::-1]):
        if not edit.is_call(layer, aten.linear.default) or not _is_stored(bias):
            continue
        assert isinstance(layer, fx.Node)
        assert isinstance(bias, fx.Node)
        plain = edit.arguments(layer)["bias"] is None and len(layer.users) == 1
        if plain and tuple(bias.meta["val"].shape) == tuple(layer.meta["val"].shape[-1:]):
            return layer, bias
    return None


def _is_biased(node: fx.Node) -> bool:
    return _biased(node) is not None


def _take_bias(graph: Graph, node: fx.Node) -> None:
    layer, bias = _biased(node)  # type: ignore[misc]
    value = _stored(graph, bias)
    assert value is not None
    become(node, aten.linear.default, *layer.args[:2], _store(graph, node, "bias", value))


def why_no_layer(node: fx.Node) -> str:
    """Why a batch norm cannot become a layer of its own; empty if it can."""
    if not 2 <= _rank(node) <= 4:
        return "only images and sequences have depthwise layers"
    if edit.arguments(node)["running_mean"] is None:
        return "it has no running statistics"
    return "it normalises an input, whose channels differ in size" if _from_input(edit.input_node(node)) else ""


def _from_input(node: fx.Node) -> bool:
    while node.op == "call_function" and len(node.all_input_nodes) == 1 and node.target in masks.MOVES:
        node = edit.input_node(node)
    return node.op == "placeholder"


def _norm_to_layer(graph: Graph, node: fx.Node) -> None:
    """``x * factor + offset``, channel by channel: a depthwise convolution of one value."""
    parts, rank = edit.arguments(node), _rank(node)
    mean, variance, gamma, beta = (_stored(graph, parts[n]) for n in ("running_mean", "running_var", "weight", "bias"))
    assert mean is not None
    assert variance is not None
    factor = (1.0 if gamma is None else gamma.double()) / torch.sqrt(variance.double() + parts["eps"])
    offset = (0.0 if beta is None else beta.double()) - mean.double() * factor
    spatial = max(rank - 2, 1)
    weight = _store(graph, node, "weight", factor.to(mean.dtype).view(-1, 1, *[1] * spatial))
    bias = _store(graph, node, "bias", offset.to(mean.dtype))
    target = aten.conv2d.default if spatial == 2 else aten.conv1d.default
    geometry = [[1] * spatial, [0] * spatial, [1] * spatial, len(mean)]
    if rank > 2:
        become(node, target, parts["input"], weight, bias, *geometry)
    else:
        lines = _call(node, aten.unsqueeze.default, parts["input"], 2)
        become(node, aten.squeeze.dim, _call(node, target, lines, weight, bias, *geometry), 2)


def _hidden(node: fx.Node) -> tuple[fx.Node, fx.Node, masks.Builder] | None:
    """The scores of a softmax, the mask that hides some of them, and how to make its truth values."""
    if not edit.is_call(node, aten.softmax.int):
        return None
    masked, scores = edit.input_node(node), list[Any]()

    def is_scores(value: Any) -> bool:
        scores.append(value)
        return isinstance(value, fx.Node)

    truths = masks.chosen(masked, is_scores)
    if truths is not None:
        return scores[-1], edit.operand(masked, 0 if scores[-1] is not masked.args[0] else 1), truths
    if edit.is_call(masked, aten.add.Tensor) and len(masked.all_input_nodes) == 2 and len(masked.args) == 2:
        for inner, mask in (masked.args, masked.args[::-1]):
            keep = masks.keep(mask) if isinstance(mask, fx.Node) else None
            if keep is not None and isinstance(inner, fx.Node):
                return inner, mask, keep  # type: ignore[return-value]
    return None


def _is_hidden(node: fx.Node) -> bool:
    return _hidden(node) is not None


def _to_masked(_: Graph, node: fx.Node) -> None:
    scores, mask, truths = _hidden(node)  # type: ignore[misc]
    rank, taken = _rank(node), truths(node)
    axis = edit.arguments(node)["dim"] % rank
    if axis == rank - 1:
        become(node, own.masked_softmax.default, scores, taken)
        return
    for _missing in range(rank - mask.meta["val"].dim()):
        taken = _call(node, aten.unsqueeze.default, taken, 0)
    turned = [_call(node, aten.transpose.int, n, axis, rank - 1) for n in (scores, taken)]
    become(node, aten.transpose.int, _call(node, own.masked_softmax.default, *turned), axis, rank - 1)


def _is_extreme(node: fx.Node) -> bool:
    return edit.is_call(node, operator.getitem) and node.args[1:] == (0,) and edit.is_call(node.args[0], *_EXTREMES)


def _to_extreme(_: Graph, node: fx.Node) -> None:
    whole = edit.input_node(node)
    parts = edit.arguments(whole)
    become(node, _EXTREMES[whole.target], parts["self"], [parts["dim"]], parts["keepdim"])


_EXTREMES: dict[Any, Any] = {aten.max.dim: aten.amax.default, aten.min.dim: aten.amin.default}


def _to_leaky(_: Graph, node: fx.Node) -> None:
    parts = edit.arguments(node)
    become(node, aten.leaky_relu.default, parts["self"], (parts["lower"] + parts["upper"]) / 2)


def _plain_sum(node: fx.Node) -> str:
    parts = edit.arguments(node)
    plain = (
        parts["alpha"] == 1 or not isinstance(parts["other"], fx.Node) or not isinstance(parts["alpha"], (int, float))
    )
    return "it is one already" if plain else ""


def _to_plain_sum(_: Graph, node: fx.Node) -> None:
    parts = edit.arguments(node)
    become(node, node.target, parts["self"], _call(node, aten.mul.Tensor, parts["other"], float(parts["alpha"])))  # type: ignore[arg-type]


RULES = (
    ONE_SIDED,
    Rule("mask of a softmax", _is_hidden, always, _to_masked),
    Rule("softmax over the last axis", calls_of(aten.softmax.int), _not_last, _softmax_over_last),
    Rule("l2 norm over the last axis", _is_l2, always, _l2_over_last),
    Rule("gate", calls_of(aten.glu.default), _dynamic_halves, _gate),
    Rule("product and sum", calls_of(aten.addmm.default, aten.baddbmm.default), _weighted_sum, _product_and_sum),
    Rule("product with a stored matrix", _is_by_matrix, _many_matrices, _to_layer),
    Rule("product with a vector", _is_by_vector, always, _to_column),
    Rule("bias of a layer", _is_biased, always, _take_bias),
    Rule("batch norm as a layer", calls_of(aten.batch_norm.default), why_no_layer, _norm_to_layer),
    Rule("values of a maximum", _is_extreme, always, _to_extreme),
    Rule("randomised slope", calls_of(aten.rrelu.default), always, _to_leaky),
    Rule("weighted sum", calls_of(aten.add.Tensor, aten.sub.Tensor), _plain_sum, _to_plain_sum),
)
