"""Why an operator has no integer form: one rule for each kind, the checks that placement makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from edgekit.errors import NumericsError
from edgekit.graph import Graph, edit, explicit, kinds, recurrence, steps
from edgekit.graph.graph import known_size
from edgekit.graph.patterns import output_channels
from edgekit.ops import numerics

aten = torch.ops.aten
_REASONS: dict[object, str] = {
    **dict.fromkeys(
        (aten.upsample_linear1d.vec, aten.upsample_bilinear2d.vec, aten.upsample_bicubic2d.vec),
        "it computes values between others, which every runtime does in float",
    ),
    aten.div.Tensor: "quotients of small values would need more than 8 bits",
}
_FILLED = (aten.masked_fill.Scalar, aten.masked_fill.Tensor, aten.where.self, aten.where.ScalarOther)


def why_not(graph: Graph, node: fx.Node) -> str:
    """Why a call stays in float; empty if it has an integer form.

    Raises:
        NumericsError: for a layer whose sums int32 does not hold, with its source line.
    """
    kind = kinds.kind_of(node)
    if node.target is aten.batch_norm.default:
        return f"batch norm has an integer form only as a layer or a part of one, and {steps.why_no_layer(node)}"
    if node.target is explicit.ATTENTION:
        return explicit.why_not_written_out(graph, node)
    if node.target in recurrence.GATES:
        return recurrence.why_not_written_out(node)
    if kind is None:
        return _REASONS.get(node.target, f"{edit.operator_name(node)} has no integer form")
    if not kinds.operands(node):
        return "it reads no activation"
    return _not_float(node) or CHECKS.get(kind, _always)(graph, node)


def _not_float(node: fx.Node) -> str:
    other = [n.name for n in kinds.operands(node) if not kinds.is_float(n)]
    return f"{other[0]} holds integers" if other else ""


def _always(_: Graph, __: fx.Node) -> str:
    return ""


def _weighted(graph: Graph, node: fx.Node) -> str:
    parts = edit.arguments(node)
    if any(parts[name] is not None and parts[name].op != "get_attr" for name in ("weight", "bias")):
        return "its weight or bias is computed, not stored"
    if isinstance(parts.get("padding"), str):
        return "its padding is a word"
    if node.target is aten.conv3d.default and _is_dynamic(node):
        return "the size of its volume is dynamic"
    weight = edit.get_tensor(graph.module, parts["weight"])
    fan_in = weight.movedim(output_channels(node), 0)[0].numel()
    return _within_int32(node, fan_in)


def _is_dynamic(node: fx.Node) -> bool:
    """Whether a size of the input, the batch aside, is dynamic."""
    return None in map(known_size, edit.input_node(node).meta["val"].shape[1:])


def _within_int32(node: fx.Node, fan_in: int) -> str:
    try:
        numerics.check_reduction(fan_in)
    except NumericsError as error:
        raise error.at(edit.describe(node)) from error
    return ""


def _recurrent(graph: Graph, node: fx.Node) -> str:
    parts, kind = edit.arguments(kinds.call_of(node)), kinds.kind_of(node)
    assert kind is not None
    if any(parts[f"{name}{gate}"].op != "get_attr" for name in "wb" for gate in kind.gates):
        return "its weights are computed, not stored"
    return _within_int32(node, graph.shape(parts[kind.state[0]])[-1])


def _matmul(graph: Graph, node: fx.Node) -> str:
    first, second = kinds.operands(node)
    if min(len(graph.shape(first)), len(graph.shape(second))) < 2:
        return "a product with a vector has no integer form"
    return _within_int32(node, graph.shape(first)[-1])


def _two_operands(_: Graph, node: fx.Node) -> str:
    parts = edit.arguments(node)
    if len(kinds.operands(node)) != 2:
        return "one side of it is a number that is computed"
    if parts.get("alpha", 1) != 1:
        return "an addition with alpha has no integer form"
    return ""


def _unary(_: Graph, node: fx.Node) -> str:
    computed = [a for a in (*node.args[1:], *node.kwargs.values()) if isinstance(a, fx.Node)]
    return "its other argument is computed" if computed else ""


def _prelu(_: Graph, node: fx.Node) -> str:
    slope = edit.arguments(node)["weight"]
    return "" if slope.op == "get_attr" else "its slope is computed, not stored"


def _reduce(_: Graph, node: fx.Node) -> str:
    parts = edit.arguments(node)
    return "it changes the type" if parts.get("dtype") not in (None, torch.float32) else ""


def _softmax(graph: Graph, node: fx.Node) -> str:
    if edit.is_call(node.args[0], *_FILLED):
        return "its input is filled in by a mask of an unknown form"
    if node.target is not aten.softmax.int:
        return ""
    parts, rank = edit.arguments(node), len(graph.shape(edit.input_node(node)))
    if parts["dim"] % rank != rank - 1:
        return "only a softmax over the last dimension has an integer form"
    return "it changes the type" if parts["dtype"] not in (None, torch.float32) else ""


def _norm(_: Graph, node: fx.Node) -> str:
    parts = edit.arguments(node)
    named: list[Any] = [parts.get("weight"), parts.get("bias")]
    if any(isinstance(n, fx.Node) and n.op != "get_attr" for n in named):
        return "its gain or offset is computed, not stored"
    if parts.get("use_input_stats") is False:
        return "it normalises with running statistics"
    return ""


def _embedding(_: Graph, node: fx.Node) -> str:
    table = edit.arguments(node)["weight"]
    return "" if table.op == "get_attr" else "its table is computed, not stored"


def _move(_: Graph, node: fx.Node) -> str:
    if node.target is aten.max_pool3d.default and _is_dynamic(node):
        return "the size of its volume is dynamic"
    indices = edit.arguments(node)["indices"] if node.target is aten.index.Tensor else []
    if any(n is not None and n.meta["val"].dtype is torch.bool for n in indices):
        return "how many values it takes depends on the data"
    return ""


def _pool(graph: Graph, node: fx.Node) -> str:
    rank = 4 if node.target is aten.avg_pool2d.default else 3
    return "" if len(graph.shape(edit.input_node(node))) == rank else "only pools of a batch have an integer form"


CHECKS: dict[kinds.Kind, Callable[[Graph, fx.Node], str]] = {
    kinds.WEIGHTED: _weighted,
    kinds.MATMUL: _matmul,
    kinds.BATCHED: _matmul,
    kinds.SCALED: _matmul,
    kinds.JOIN: _two_operands,
    kinds.MULTIPLY: _two_operands,
    kinds.POOL: _pool,
    kinds.REDUCE: _reduce,
    kinds.UNARY: _unary,
    kinds.PRELU: _prelu,
    kinds.SOFTMAX: _softmax,
    kinds.NORM: _norm,
    kinds.EMBEDDING: _embedding,
    kinds.MOVE: _move,
    kinds.CHOICE: _two_operands,
    **dict.fromkeys(kinds.RECURRENT, _recurrent),
}
