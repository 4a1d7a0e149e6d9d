"""What each operator ties together: one rule for each kind, from the dimensions of its inputs to those of its output.

A rule reads ``state.dims`` of its operands, ties what has to go together, says how its own arguments follow, and
returns the dimensions of what it computes: one tuple, or one for each of several results. An operator without a rule
is :func:`unknown`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from edgekit.graph import edit
from edgekit.prune.analysis import Analysis, Dims
from edgekit.prune.rules import images, indexing, norms, pointwise, products, recurrent, shapes, sources

aten = torch.ops.aten
Rule = Callable[[Analysis, fx.Node], Dims | list[Dims]]

RULES: dict[Any, Rule] = {
    **pointwise.RULES,
    **products.RULES,
    **recurrent.RULES,
    **norms.RULES,
    **images.RULES,
    **shapes.RULES,
    **indexing.RULES,
    **sources.RULES,
}


def propagate(state: Analysis, node: fx.Node) -> None:
    """Tie what ``node`` ties and note the dimensions of what it computes."""
    found = rule_of(node)(state, node)
    if isinstance(found, list):
        state.results[node] = found
    state.dims[node] = () if isinstance(found, list) else found


def rule_of(node: fx.Node) -> Rule:
    """The rule for a call."""
    if node.target is operator.getitem:
        return _piece
    rule = RULES.get(node.target)
    if rule is not None:
        return rule
    plain = pointwise.is_pointwise(node.target) and not edit.overload(node)._schema.is_mutable
    return pointwise.elementwise if plain else unknown


def _piece(state: Analysis, node: fx.Node) -> Dims:
    source, index = node.args
    results = state.results.get(source)  # type: ignore[arg-type]
    return _uncut(node) if results is None else results[index]  # type: ignore[index]


def unknown(state: Analysis, node: fx.Node) -> Dims:
    """Freeze every input: a cut through an operator that pruning does not know could change what is left."""
    touched = [dim for n in node.all_input_nodes for dim in state.dims[n] if dim is not None]
    if touched:
        state.refuse(node, f"{edit.describe(node)} is not known to pruning", touched)
    return _uncut(node)


def _uncut(node: fx.Node) -> Dims:
    value = node.meta.get("val")
    return (None,) * (value.dim() if isinstance(value, Tensor) else 0)
