"""The integer Graph, the golden: where the quantised graph has int8 values, so has this one, computed on integers.

One rule for each kind of operator, a triple (match, check, rewrite): ``rewrite`` reads a cell (operator, fused clamp,
scale) and writes one integer call, named like the float operator. Weights, biases, multipliers and tables are computed
here once and carried as buffers. What is not quantised is copied as it is: a float island between a dequantize and a
quantize.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import fx

from edgekit.errors import NumericsError, OperatorError, UsageError
from edgekit.fuse.join import join
from edgekit.fuse.rules import RULES, border
from edgekit.fuse.work import Work
from edgekit.graph import Graph, cost, edit, kinds, notes, patterns
from edgekit.graph.patterns import Cell


@dataclass(frozen=True)
class Fused:
    """One operator of the model in the integer graph.

    Attributes:
        name: of the float operator, and of the integer one.
        operator: what is called: an integer operator, or the float one.
        fused: what became part of it.
        reason: why it is computed in float; empty if it is not.
        macs: multiply-accumulates for a batch of 1.
    """

    name: str
    operator: str
    fused: tuple[str, ...]
    reason: str
    macs: int


@dataclass(frozen=True)
class Lowered:
    """The integer graph, and what became of each operator."""

    graph: Graph
    operators: tuple[Fused, ...]

    @property
    def int8_macs(self) -> float | None:
        """Share of the multiply-accumulates that integer operators do; None for a net without any."""
        total = sum(operator.macs for operator in self.operators)
        return sum(o.macs for o in self.operators if not o.reason) / total if total else None

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {"int8_macs": self.int8_macs, "operators": [asdict(operator) for operator in self.operators]}


def lower(graph: Graph, *, fuse: bool = False) -> Graph:
    """The integer graph of a quantised one. Its inputs and outputs stay float; every tier gives the same bytes.

    Args:
        graph: of :func:`edgekit.quantize`.
        fuse: let a product do the addition and the table behind it, in one call of the same bytes. What it computes by
            itself is then no value of the graph any more.

    Raises:
        UsageError: for a graph without fake_quantize.
        OperatorError: for an operator that moves bytes to another scale; names it and its source line.
        NumericsError: for a scale, ratio or bias outside the range in which INT8 arithmetic is exact; the same.
    """
    integer = lowered(graph).graph
    return join(integer) if fuse else integer


def lowered(graph: Graph) -> Lowered:
    """:func:`lower` with a report."""
    found = patterns.cells(graph)
    if not found:
        raise UsageError("the graph is not quantised.", fix="Call ek.quantize first.")
    work, ends = Work(graph), {cell.end: cell for cell in found}
    inside = {node for cell in found if not cell.is_border for node in cell.members}
    operators, floats = list[Fused](), set(patterns.float_calls(graph))
    for node in graph.nodes:
        if node.op == "placeholder":
            work.floats[node] = work.structure.placeholder(node.name)
        elif node in ends:
            _cell(work, ends[node])
        elif node.op == "call_function" and node not in inside and not _is_looked_through(node):
            work.keep(node)
        if node in floats or (node in ends and not ends[node].is_border):
            operators.append(_reported(graph, node, ends.get(node)))
    return Lowered(work.finish(), tuple(operators))


def _is_looked_through(node: fx.Node) -> bool:
    weight = node.target is patterns.FAKE_QUANTIZE and (patterns.is_weight(node))
    return weight or node.target is patterns.AS_FLOAT or node.target in patterns.TRAINING_ONLY


def _cell(work: Work, cell: Cell) -> None:
    kind = kinds.kind_of(cell.body)
    rule = border if cell.is_border or kind is None else RULES[kind.name]
    try:
        reason = rule.check(work, cell)
        if reason:
            raise OperatorError(f"{edit.describe(cell.body)} cannot be lowered: {reason}.")
        new = rule.rewrite(work, cell)
    except NumericsError as error:
        raise error.at(edit.describe(cell.body)) from error
    edit.copy_source(cell.body, new)
    notes.stand_for(new, cell.real)
    new.meta[notes.SCALE] = float(work.scale(cell.end))
    work.values[cell.end] = new


def _reported(graph: Graph, node: fx.Node, cell: Cell | None) -> Fused:
    if cell is not None and not cell.is_border:
        fused = ["requantise", *([edit.operator_name(cell.clamp)] if cell.clamp is not None else [])]
        if kinds.kind_of(cell.body) is kinds.WEIGHTED and edit.arguments(cell.body)["bias"] is not None:
            fused.append("bias")
        call = kinds.call_of(cell.body)
        return Fused(cell.body.name, edit.operator_name(call), tuple(fused), "", cost.macs(graph, call))
    return Fused(node.name, edit.operator_name(node), (), why_float(node), cost.macs(graph, node))


def why_float(node: fx.Node) -> str:
    """Why a call of a quantised graph is computed in float: what placement noted, or what is missing around it."""
    if reason := notes.why_float(node):
        return reason
    if kinds.kind_of(node) is None:
        return f"{edit.operator_name(node)} has no integer form"
    real = [source.name for source in kinds.operands(node) if not patterns.is_quantised(source)]
    return f"it reads {real[0]}, which is not quantised" if real else "its weight is not quantised"
