"""Scales for what a GRU or LSTM rounds inside: seen in calibration like any tensor, then brought within reach.

For calibration every quantity of a step becomes a node of its own, computed for all of time at once from the finished
float run; afterwards these nodes go again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from edgekit.graph import Graph, edit, kinds
from edgekit.ops import numerics
from edgekit.ops import recurrent as words
from edgekit.quant.plan import Plan

_REACH = numerics.MAX_RATIO / 2  # of two scales whose tensors are added; half of what the integer layer takes
_LEAST = 2.0**-14  # of the scale of a gate, and of the ratio that writes a cell, twice what an integer cell takes
_FLAT = {"sigmoid": 7.0, "tanh": 3.5}  # beyond, these functions change by less than half a step of 1/127
_GATES = ("r", "z", "one_minus_z", "i", "f", "o")  # between 0 and 1
_TO_S16 = numerics.S8_MAX / numerics.S16_MAX
Scales = dict[fx.Node, Tensor]


def quantities(node: fx.Node) -> tuple[str, ...]:
    """The names of what a recurrent layer rounds, in the order of its ``scales``."""
    return words.GRU_QUANTITIES if kinds.kind_of(node) is kinds.GRU else words.LSTM_QUANTITIES


def expose(placed: Plan) -> None:
    """Give each quantity of every recurrent layer a node in the graph and a place in its plan."""
    for node in filter(placed.is_integer, list(placed.scale_of)):
        if kinds.kind_of(node) in kinds.RECURRENT:
            call = kinds.call_of(node)
            behind = node if call is node else max(call.users)  # the other results are read there as well
            last = whole = edit.call_after(behind, _seen(node), (node, *call.args))
            named = [placed.scale_of[node]]  # the first quantity is the state, which is the result
            for index, name in enumerate(quantities(node)[1:]):
                last = edit.call_after(last, operator.getitem, (whole, index), f"{node.name}_{name}")
                placed.observed[last] = last
                named.append(last)
            placed.inside[node] = tuple(named)


def conceal(graph: Graph, placed: Plan) -> None:
    """Take the nodes that :func:`expose` put in out of the graph; the plan still knows them by their names."""
    for _, *exposed in placed.inside.values():
        whole = edit.input_node(exposed[0])
        for node in reversed(exposed):
            graph.module.graph.erase_node(node)
        graph.module.graph.erase_node(whole)
    graph.module.recompile()


def _seen(node: fx.Node) -> Callable[..., tuple[Tensor, ...]]:
    return _gru if kinds.kind_of(node) is kinds.GRU else _lstm


def _gru(y: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    parts, (h0, *rest) = arguments[:3], arguments[3:11]
    return tuple(words.gru_quantities(parts, h0, rest[:3], rest[3:6], rest[6], y).values())[1:]


def _lstm(y: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    parts, (h0, c0, *rest) = arguments[:4], arguments[4:15]
    return tuple(words.lstm_quantities(parts, h0, c0, rest[:4], rest[4:8], rest[8], y).values())[1:]


def additions(placed: Plan, node: fx.Node) -> list[tuple[list[fx.Node], fx.Node]]:
    """After whom the scales of summands and sum are named, for each addition in a layer, the last one first."""
    named, kind = _by_name(placed, node), kinds.kind_of(node)
    assert kind is not None
    inputs = dict(zip(kind.gates, kinds.operands(node), strict=False))
    found = [([named["new"], named["old"]], named["h"])] if kind is kinds.GRU else []
    for gate in reversed(kind.gates):
        inner = "reset" if (kind, gate) == (kinds.GRU, "n") else f"hidden_{gate}"
        found.append(([placed.scale_of[inputs[gate]], named[inner]], named[f"sum_{gate}"]))
    return found


def within_reach(placed: Plan, scales: Scales) -> Scales:
    """The scales with those inside recurrent layers as their integer form can take them.

    What goes into a sigmoid or tanh need not reach where it is flat. The cell of an LSTM has 16 bits. And where a
    tensor is next to nothing beside the one that it is added to, its scale is raised: it loses nothing that is seen.
    """
    scales = dict(scales)
    for node in placed.inside:
        named = _by_name(placed, node)
        _stop_where_flat(node, named, scales)
        for gate in [name for name in named if name in _GATES]:
            scales[named[gate]] = scales[named[gate]].clamp(min=_LEAST)
        if kinds.kind_of(node) is kinds.LSTM:
            _settle_cell(named, scales)
        for summands, total in additions(placed, node):
            _reach(summands, total, scales, of_state=total is named["h"])
    return scales


def _by_name(placed: Plan, node: fx.Node) -> dict[str, fx.Node]:
    return dict(zip(quantities(node), placed.inside[node], strict=True))


def _stop_where_flat(node: fx.Node, named: dict[str, fx.Node], scales: Scales) -> None:
    tanh = {"sum_n", "cell"} if kinds.kind_of(node) is kinds.GRU else {"sum_g", "cell"}
    for name in named:
        if name.startswith("sum_") or name == "cell":
            limit = _FLAT["tanh" if name in tanh else "sigmoid"] / numerics.S8_MAX
            scales[named[name]] = scales[named[name]].clamp(max=limit)


def _settle_cell(named: dict[str, fx.Node], scales: Scales) -> None:
    """A cell in 16 bits, written with a ratio of at least 2^-15 and at most 2^20."""
    enter, value = scales[named["i"]], scales[named["g"]]
    cell = torch.maximum(scales[named["c"]] * _TO_S16, enter * value / _REACH)
    scales[named["c"]] = cell
    scales[named["g"]] = torch.maximum(value, _LEAST * cell / enter)


def _reach(summands: list[fx.Node], total: fx.Node, scales: Scales, of_state: bool) -> None:
    if not of_state:  # the state's scale is the result's, which others share
        scales[total] = torch.stack([scales[total], *(scales[one] / _REACH for one in summands[:1])]).max()
    for one in summands:
        scales[one] = scales[one].clamp(scales[total] / _REACH, scales[total] * _REACH)
