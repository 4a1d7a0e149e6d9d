"""GRU and LSTM, one layer in one direction over a whole sequence."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from edgekit.fuse.rules.products import IntegerLayer, integer_weight
from edgekit.fuse.rules.rule import Rule
from edgekit.fuse.work import Work
from edgekit.graph import Graph, edit, kinds, patterns
from edgekit.graph.patterns import Cell
from edgekit.ops import recurrent_arguments

s8 = torch.ops.edgekit


def integer_gates(graph: Graph, cell: Cell) -> dict[str, IntegerLayer]:
    """Recurrent weight and bias of each gate of a recurrent cell as its integer operator has them."""
    parts, kind = edit.arguments(kinds.call_of(cell.body)), kinds.kind_of(cell.body)
    assert kind is not None
    state = edit.get_tensor(graph.module, cell.scale).detach()
    return {gate: integer_weight(graph, parts[f"w{gate}"], parts[f"b{gate}"], state) for gate in kind.gates}


def _one_state(_: Work, cell: Cell) -> str:
    """The state goes round: what begins, what is inside and what comes out have one scale."""
    parts = edit.arguments(kinds.call_of(cell.body))
    begins = patterns.scale_node(patterns.bytes_of(parts["h0"]))
    same = {node.target for node in (begins, parts["scales"][0], cell.scale)}
    return "" if len(same) == 1 else "its state has another scale than its result"


def _recurrent(work: Work, cell: Cell) -> fx.Node:
    call, kind = kinds.call_of(cell.body), kinds.kind_of(cell.body)
    assert kind is not None
    parts = edit.arguments(call)
    inputs = [parts[gate] for gate in kind.gates]
    values = [work.value(node) for node in (*inputs, parts["h0"])]
    stored = _stored(work, cell, kind, parts, inputs)
    if kind is kinds.GRU:
        return work.call(cell, s8.gru_s8.default, *values, *stored, parts["reverse"])
    both = work.step(s8.lstm_s8.default, *values, work.plain(parts["c0"]), *stored, parts["reverse"])
    for user in call.users:
        if user is not cell.body:
            work.floats[user] = work.structure.create_node("call_function", operator.getitem, (both, 1), name=user.name)
    return work.call(cell, operator.getitem, both, 0)


def _stored(
    work: Work, cell: Cell, kind: kinds.Kind, parts: dict[str, Any], inputs: list[fx.Node]
) -> tuple[fx.Node, ...]:
    fakes = [edit.arguments(parts[f"w{gate}"]) for gate in kind.gates]
    make = recurrent_arguments.gru_arguments if kind is kinds.GRU else recurrent_arguments.lstm_arguments
    found = make(
        torch.stack([work.tensor(node).reshape(()) for node in parts["scales"]]),
        [work.scale(node) for node in inputs],
        [work.tensor(fake["x"]) for fake in fakes],
        [work.tensor(parts[f"b{gate}"]) for gate in kind.gates],
        [work.tensor(fake["scale"]) for fake in fakes],
    )
    integer_gates(work.source, cell)  # refuses a bias that has outgrown int32
    return tuple(work.stored(f"{cell.body.name}.{name}", value) for name, value in found._asdict().items())


RECURRENT = Rule("recurrent", _recurrent, _one_state)
