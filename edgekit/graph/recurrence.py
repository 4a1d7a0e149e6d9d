"""GRU and LSTM written out, as quantisation wants them: layers for the inputs of the gates, then a walk through time.

``aten.gru`` holds all layers and directions. Here the input part of every gate, ``W x + b``, becomes a linear layer
over the whole sequence, and what is left of each direction one call of ``edgekit.gru`` or ``edgekit.lstm``.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import fx, nn

from edgekit.graph import edit, notes
from edgekit.graph.graph import Graph

aten, own = torch.ops.aten, torch.ops.edgekit
GATES: dict[object, str] = {aten.gru.input: "rzn", aten.lstm.input: "ifgo"}
_ZEROS = (aten.zeros.default, aten.new_zeros.default, aten.zeros_like.default)
_FILLED = (aten.full.default, aten.new_full.default, aten.full_like.default)


def write_out_recurrence(graph: Graph) -> Graph:
    """A copy of ``graph`` with every GRU and LSTM in steps, unless :func:`why_not_written_out` has a reason."""
    graph = graph.copy().eval()
    found = [n for n in edit.calls(graph.module) if n.target in GATES and not why_not_written_out(n)]
    for node in found:
        notes.take_apart(node, partial(_write_out, graph, node))
    return graph.refresh() if found else graph


def why_not_written_out(node: fx.Node) -> str:
    """Why a GRU or LSTM stays whole; empty if it does not."""
    parts = edit.arguments(node)
    if any(weight.op != "get_attr" for weight in parts["params"]):
        return "its weights are computed, not stored"
    outputs, inputs = parts["params"][1].meta["val"].shape
    return "" if outputs == len(GATES[node.target]) * inputs else "its states are projected"


@dataclass(frozen=True)
class _Direction:
    """One direction of one layer: its number among the states, its stored weights and biases, and where it starts."""

    index: int
    params: Sequence[fx.Node]
    reverse: bool


def _write_out(graph: Graph, node: fx.Node) -> None:
    parts = edit.arguments(node)
    given = [parts["hx"]] if isinstance(parts["hx"], fx.Node) else list(parts["hx"])
    values = _turned(node, parts["input"], parts["batch_first"])
    last: list[list[fx.Node]] = [[] for _ in given]  # the states after the last step, of each layer and direction
    for layer in _directions(parts):
        results = [_run(graph, node, values, given, direction) for direction in layer]
        values = results[0][0] if len(results) == 1 else _call(node, aten.cat.default, [one[0] for one in results], 2)
        for states, found in zip(last, zip(*(one[1:] for one in results), strict=True), strict=True):
            states += found
    stacked = [_call(node, aten.stack.default, states) for states in last]
    _replace(node, [_turned(node, values, parts["batch_first"]), *stacked])


def _directions(parts: dict[str, Any]) -> list[list[_Direction]]:
    """Layer by layer, forward first."""
    each, both = 4 if parts["has_biases"] else 2, 2 if parts["bidirectional"] else 1
    found = []
    for layer in range(parts["num_layers"]):
        indices = [layer * both + reverse for reverse in range(both)]
        found.append([_Direction(i, parts["params"][i * each : (i + 1) * each], i % both == 1) for i in indices])
    return found


def _run(
    graph: Graph, node: fx.Node, values: fx.Node, given: list[fx.Node], direction: _Direction
) -> tuple[fx.Node, ...]:
    """The results [T, N, H] of one direction and its last states [N, H], behind the layers for its gates' inputs."""
    gates, (own_weight, recurrent_weight, *biases) = GATES[node.target], direction.params
    inputs = [_linear(graph, node, values, own_weight, biases[:1], index, len(gates)) for index in range(len(gates))]
    weights = [_rows(graph, node, recurrent_weight, index, len(gates)) for index in range(len(gates))]
    width = weights[0].meta["val"].shape[1]
    offsets = [
        _rows(graph, node, biases[1], index, len(gates)) if biases else _zeros(graph, node, [width])
        for index in range(len(gates))
    ]
    starts = [_start(graph, node, one, direction.index, values) for one in given]
    arguments = (*inputs, *starts, *weights, *offsets, direction.reverse)
    end = 0 if direction.reverse else -1
    if node.target is aten.gru.input:
        y = edit.call_before(node, own.gru.default, arguments, f"{node.name}_y")
        return y, _call(node, aten.select.int, y, 0, end)
    both = _call(node, own.lstm.default, *arguments)
    names = (f"{node.name}_y", f"{node.name}_c")
    y, cell = (edit.call_before(node, operator.getitem, (both, i), name) for i, name in enumerate(names))
    return y, _call(node, aten.select.int, y, 0, end), cell


def _linear(
    graph: Graph, node: fx.Node, values: fx.Node, weight: fx.Node, bias: Sequence[fx.Node], index: int, gates: int
) -> fx.Node:
    rows = [_rows(graph, node, stored, index, gates) for stored in (weight, *bias)]
    name = f"{node.name}_{GATES[node.target][index]}"
    return edit.call_before(node, aten.linear.default, (values, *rows), name)


def _rows(graph: Graph, node: fx.Node, stored: fx.Node, index: int, gates: int) -> fx.Node:
    """The rows of one gate in a stored weight or bias, as a parameter of its own."""
    rows = edit.get_tensor(graph.module, stored).detach().chunk(gates)[index].clone()
    gate = GATES[node.target][index]
    return edit.add_tensor(graph.module, f"{stored.target}_{gate}", nn.Parameter(rows, False), node)


def _zeros(graph: Graph, node: fx.Node, sizes: list[int]) -> fx.Node:
    return edit.add_tensor(graph.module, f"{node.name}_zeros", torch.zeros(sizes), node)


def _start(graph: Graph, node: fx.Node, states: fx.Node, index: int, values: fx.Node) -> fx.Node:
    """The state [N, H] to begin with, out of [layers * directions, N, H]; zeros are stored, not computed."""
    if not _is_zero(graph, states):
        return _call(node, aten.select.int, states, 0, index)
    row = _zeros(graph, node, [1, int(states.meta["val"].shape[-1])])
    return _call(node, aten.expand.default, row, [_call(node, aten.sym_size.int, values, 1), -1])


def _is_zero(graph: Graph, states: fx.Node) -> bool:
    if states.op == "get_attr":
        value = edit.get_tensor(graph.module, states)
        return not isinstance(value, nn.Parameter) and not bool(torch.any(value))
    return edit.is_call(states, *_ZEROS) or (edit.is_call(states, *_FILLED) and bool(states.args[-1] == 0))


def _turned(node: fx.Node, values: fx.Node, batch_first: bool) -> fx.Node:
    """Time first from batch first, or back."""
    return _call(node, aten.transpose.int, values, 0, 1) if batch_first else values


def _replace(node: fx.Node, results: list[fx.Node]) -> None:
    for index, result in enumerate(results):
        for user in [user for user in node.users if user.args[1] == index]:
            notes.stand_for(result, user)
            user.replace_all_uses_with(result)


def _call(before: fx.Node, target: Any, *args: Any) -> fx.Node:
    return edit.call_before(before, target, args)
