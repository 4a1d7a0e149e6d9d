"""GRU, LSTM and plain recurrent layers: a unit goes with its row in every gate, its column, its bias and its state.

All layers and directions of one call keep the same units, since their states are one tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx

from edgekit.graph import edit
from edgekit.prune.analysis import Analysis, Dims
from edgekit.prune.atoms import Indices

aten = torch.ops.aten
GATES = {aten.gru.input: 3, aten.lstm.input: 4, aten.rnn_tanh.input: 1, aten.rnn_relu.input: 1}


@dataclass(frozen=True)
class _Weights:
    """The parameters of one layer in one direction."""

    layer: int
    inputs: fx.Node
    hidden: fx.Node
    biases: list[fx.Node]
    projection: fx.Node | None


def _recurrent(state: Analysis, node: fx.Node) -> list[Dims]:
    parts, gates = edit.arguments(node), GATES[node.target]  # type: ignore[index]
    states = parts["hx"] if isinstance(parts["hx"], (list, tuple)) else [parts["hx"]]
    for n in states:
        state.fix(state.dims[n][0])
    given = [state.atoms_of(state.dims[n][-1]) for n in states]
    sizes = [int(n.meta["val"].shape[-1]) for n in states]
    hidden, cell = (
        state.fixed(size) if atoms is None else atoms for atoms, size in ((given[0], sizes[0]), (given[-1], sizes[-1]))
    )
    projected = any(one.projection is not None for one in _weights(node))
    if not projected and len(states) == 2:
        state.tie(hidden, cell)
    units = cell if projected else hidden
    directions = 2 if parts["bidirectional"] else 1
    below = np.concatenate([hidden] * directions)
    rows = np.concatenate([units] * gates)
    for one in _weights(node):
        _tie_layer(state, one, rows, units, hidden)
        inputs = state.dims[one.inputs][1]
        state.tie(state.dims[parts["input"]][-1] if one.layer == 0 else below, inputs, "model input")
    *outer, _ = state.dims[parts["input"]]
    batches = [state.dims[n][:-1] for n in states]
    return [(*outer, below), *((*batch, atoms) for batch, atoms in zip(batches, (hidden, cell), strict=False))]


def _tie_layer(state: Analysis, one: _Weights, rows: Indices, units: Indices, hidden: Indices) -> None:
    for n in (one.inputs, one.hidden, *one.biases):
        state.tie(rows, state.dims[n][0])
    state.tie(hidden, state.dims[one.hidden][1])
    if one.projection is not None:
        state.tie(hidden, state.dims[one.projection][0])
        state.tie(units, state.dims[one.projection][1])


def _weights(node: fx.Node) -> Iterator[_Weights]:
    parts = edit.arguments(node)
    directions = 2 if parts["bidirectional"] else 1
    each = len(parts["params"]) // (parts["num_layers"] * directions)
    biases = 2 if parts["has_biases"] else 0
    for i in range(0, len(parts["params"]), each):
        inputs, hidden, *rest = parts["params"][i : i + each]
        yield _Weights(i // each // directions, inputs, hidden, rest[:biases], next(iter(rest[biases:]), None))


RULES: dict[Any, Any] = dict.fromkeys(GATES, _recurrent)
