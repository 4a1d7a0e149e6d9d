"""A graph as a table that a person can read: one line for each call."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import fx

from edgekit.graph import cost, edit
from edgekit.graph.graph import known_size

if TYPE_CHECKING:
    from edgekit.graph.graph import Graph

_HEADER = ("node", "operator", "shape", "MACs", "parameters", "inputs", "source")


def table(graph: Graph) -> str:
    """Name, operator, output shape (``N`` is the batch), MACs and parameters, inputs and source line of every call."""
    rows = [_HEADER] + [_row(graph, node) for node in graph.nodes if node.op in ("placeholder", "call_function")]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    total = f"{cost.total_macs(graph):,} MACs, {cost.total_parameters(graph):,} parameters"
    outputs = ", ".join(
        f"{name} = {node.name}" for name, node in zip(graph.output_names, graph.output_nodes(), strict=True)
    )
    return "\n".join([*lines, f"{total}; returns {outputs}"])


def _row(graph: Graph, node: fx.Node) -> tuple[str, ...]:
    inputs = ", ".join(n.name for n in node.all_input_nodes if n.op != "get_attr")
    macs, parameters = (cost.macs(graph, node), cost.parameters(graph, node)) if node.op == "call_function" else (0, 0)
    source = edit.source_line(node)
    short = f"{Path(source.split(':')[0]).name}:{source.split(':')[1]}" if source.count(":") >= 2 else ""
    return (
        node.name,
        edit.operator_name(node),
        _shape(node),
        f"{macs:,}" if macs else "",
        f"{parameters:,}" if parameters else "",
        inputs,
        short,
    )


def _size(size: int | torch.SymInt) -> str:
    known = known_size(size)
    return "N" if known is None else str(known)


def _shape(node: fx.Node) -> str:
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return ""
    sizes = "x".join(_size(size) for size in value.shape)
    return f"{str(value.dtype).removeprefix('torch.')}[{sizes}]"
