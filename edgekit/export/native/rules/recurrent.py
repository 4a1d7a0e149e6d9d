"""GRU and LSTM, a layer in one direction over a whole sequence."""

from __future__ import annotations

from torch import fx

from edgekit.export.native import words
from edgekit.export.native.build import ELEMENTS, Builder
from edgekit.export.native.view import View
from edgekit.graph import edit


def gru(builder: Builder, node: fx.Node) -> View:
    """``gru_s8``."""
    parts = edit.arguments(node)
    out = builder.home(node)
    operands = [builder.ordered(builder.view(value)) for name, value in parts.items() if name != "reverse"]
    builder.emit(words.Gru(int(parts["reverse"])), operands, out)
    return out


def lstm(builder: Builder, node: fx.Node) -> tuple[View, ...]:
    """``lstm_s8``: the states, and the cell behind the last step."""
    parts = edit.arguments(node)
    outs = [builder.fresh(tuple(value.shape), ELEMENTS[value.dtype]) for value in builder.fixed.values[node]]
    operands = [builder.ordered(builder.view(value)) for name, value in parts.items() if name != "reverse"]
    builder.emit(words.Lstm(int(parts["reverse"])), operands, *outs)
    return tuple(outs)


def item(builder: Builder, node: fx.Node) -> View:
    """One of several results."""
    found: View = builder.views[edit.input_node(node)][node.args[1]]
    return found
