"""``edgekit.explain``: why each tensor is quantised or not, asked of the code that decides."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import overload

import torch
from torch import Tensor, fx

from edgekit.debug import view
from edgekit.debug.placement import Explanation, Placement
from edgekit.debug.reasons import tensors
from edgekit.debug.view import View
from edgekit.errors import UsageError, did_you_mean
from edgekit.fuse import lower
from edgekit.fuse.work import DEQUANTIZE
from edgekit.graph import Graph, cost, edit, kinds, notes, patterns
from edgekit.ops import OPS, OpSpec, dispatch
from edgekit.ops.dispatch import Tier
from edgekit.options import QuantConfig
from edgekit.quant import prepare
from edgekit.runtime import Layer, NativeRunner


@overload
def explain(graph: Graph, config: QuantConfig | None = None) -> Explanation: ...
@overload
def explain(graph: NativeRunner) -> tuple[Layer, ...]: ...
@overload
def explain(graph: OpSpec | str) -> tuple[Tier, ...]: ...
def explain(
    graph: Graph | NativeRunner | OpSpec | str, config: QuantConfig | None = None
) -> Explanation | tuple[Layer, ...] | tuple[Tier, ...]:
    """Say of a loaded plan which kernel runs each operation; of a graph's tensors where each is held, and why.

    For a graph: of every tensor whether it is held in INT8, at which scale, what carries it, and why; for an integer
    graph also which implementation of each operator runs here in torch, and why not the others. For an operator, such
    as "linear_s8": the latter alone.

    Args:
        graph: in float, where the answer is what :func:`edgekit.quantize` would do; quantised; or integer; or a plan;
            or an operator or its name.
        config: of the quantisation of a float graph: what is kept in float.

    Raises:
        NumericsError: for a layer whose sums int32 does not hold, with its source line.
        OperatorError: for a quantised graph that cannot be lowered.
        UsageError: for a name that no operator has.
    """
    if isinstance(graph, (OpSpec, str)):
        return dispatch.explain(graph if isinstance(graph, OpSpec) else _operator(graph))
    if isinstance(graph, NativeRunner):
        return graph.explain()
    if any(is_int8(node) for node in edit.calls(graph.module)):
        placements = tuple(map(_integer, filter(_is_tensor, graph.nodes)))
        return Explanation("integer", placements, _integer_macs(graph), _tiers(graph))
    if patterns.cells(graph):
        found, carried = view.of_quantised(graph), carriers(lower(graph))
        return Explanation("quantised", tuple(tensors(found, carried)), _macs(found))
    prepared = prepare(graph)
    found = view.of_float(prepared, config.keep_float if config else ())
    return Explanation("float", (*tensors(found, {}), *_folded(graph, prepared)), _macs(found))


def _operator(name: str) -> OpSpec:
    specs = {spec.name: spec for spec in OPS}
    if name not in specs:
        raise UsageError(f"there is no operator {name!r}.{did_you_mean(name, specs)}", fix="`edgekit.ops.OPS` has all.")
    return specs[name]


def _tiers(graph: Graph) -> dict[str, tuple[Tier, ...]]:
    """By operator, as ``carried_by`` names it, in the order of the graph."""
    specs = {f"edgekit.{spec.name}": spec for spec in OPS}
    names = dict.fromkeys(edit.operator_name(node) for node in edit.calls(graph.module))
    return {name: dispatch.explain(specs[name]) for name in names if name in specs}


def is_int8(node: fx.Node) -> bool:
    """Whether a node holds bytes."""
    value = node.meta.get("val")
    first = value[0] if isinstance(value, tuple) else value
    return isinstance(first, Tensor) and first.dtype is torch.int8


def carriers(integer: Graph) -> dict[str, str]:
    """The operator that makes each tensor of an integer graph, by the tensor's name."""
    return {notes.value_name(n): _carrier(n) for n in edit.calls(integer.module) if is_int8(n) and _is_tensor(n)}


def _carrier(node: fx.Node) -> str:
    """A line is a row to its operator: the shape is put right around it."""
    if node.target is operator.getitem:  # the first of several results
        return edit.operator_name(edit.input_node(node))
    while node.target in (torch.ops.aten.squeeze.dim, torch.ops.aten.view.dtype) and len(node.all_input_nodes) == 1:
        source = edit.input_node(node)
        if not is_int8(source) or notes.scale(source) is not None:
            break
        node = source
    return edit.operator_name(node)


def _macs(found: View) -> float | None:
    macs = {node: cost.macs(found.graph, node) for node in edit.calls(found.graph.module)}
    total = sum(macs.values())
    return sum(n for node, n in macs.items() if kinds.value_of(node) in found.integer) / total if total else None


def _integer_macs(graph: Graph) -> float | None:
    macs = {node: cost.macs(graph, node) for node in edit.calls(graph.module)}
    total = sum(macs.values())
    return sum(count for node, count in macs.items() if is_int8(node)) / total if total else None


def _folded(graph: Graph, prepared: Graph) -> Iterator[Placement]:
    """The tensors of a captured graph that quantisation does away with."""
    left = {notes.value_name(node) for node in prepared.nodes}
    calls = {node.name for node in prepared.nodes}
    for node in filter(_is_tensor, edit.calls(graph.module)):
        if node.name not in left:
            reason = (
                "a batch norm behind it is part of it" if node.name in calls else "computed once, or part of others"
            )
            yield Placement(node.name, edit.operator_name(node), "folded", reason, source=edit.short_source(node))


def _is_tensor(node: fx.Node) -> bool:
    return node.op != "output" and isinstance(node.meta.get("val"), Tensor)


def _integer(node: fx.Node) -> Placement:
    name, made = notes.value_name(node), edit.operator_name(node)
    dtype = str(node.meta["val"].dtype).removeprefix("torch.").replace("float32", "float")
    where = edit.short_source(node)
    if node.op == "get_attr":
        readers = ", ".join(user.name for user in node.users)
        return Placement(str(node.target), "stored", dtype, f"stored for {readers}", notes.scale(node))
    if is_int8(node):
        reason = "computed on integers" if notes.scale(node) is not None else "a step of the operator behind it"
        if node.target is torch.ops.edgekit.quantize_s8.default:
            reason = "rounded to INT8 for who reads it on integers"
        return Placement(name, made, dtype, reason, notes.scale(node), carried_by=_carrier(node), source=where)
    if node.target is DEQUANTIZE:
        return Placement(name, made, dtype, f"the bytes of {edit.input_node(node).name}, for who reads floats")
    return Placement(name, made, dtype, notes.why_float(node) or "it is no result of an integer operator", source=where)
