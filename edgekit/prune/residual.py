"""The channels between residual blocks: additions make those of all blocks one, so that they only go together."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from edgekit.graph import Graph
from edgekit.prune.analysis import Analysis, Dim

aten = torch.ops.aten

ADDITIONS = frozenset({aten.add.Tensor, aten.sub.Tensor})  # canonical graphs have none in place


def computed(graph: Graph) -> set[fx.Node]:
    """What depends on the values of the model's inputs; their sizes alone are none."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        values = [n for n in node.all_input_nodes if isinstance(n.meta.get("val"), (Tensor, tuple, list))]
        if node.op == "placeholder" or not found.isdisjoint(values):
            found.add(node)
    return found


def joined(state: Analysis, node: fx.Node, computed: set[fx.Node]) -> list[Dim]:
    """Dimensions that ``node``, not propagated yet, makes one because it adds two results; none of other calls.

    A bias, a position or a mask of the model's own is no result, and what is added must have been free of each other
    and of two dimensions: the parts of a rotary embedding come from one.
    """
    operands = node.all_input_nodes
    if node.target not in ADDITIONS or len(operands) != 2 or not computed.issuperset(operands):
        return []
    pairs = zip(*(reversed(state.dims[n]) for n in operands), strict=False)
    return [dim for pair in pairs for dim in pair if _differ(state, *pair)]


def _differ(state: Analysis, a: Dim, b: Dim) -> bool:
    x, y = state.atoms_of(a), state.atoms_of(b)
    if x is None or y is None or len(x) != len(y) or len(x) == 1:
        return False
    if not state.atoms.origins(x).isdisjoint(state.atoms.origins(y)):
        return False
    return {state.atoms.choices(atom) for atom in x.tolist()}.isdisjoint(map(state.atoms.choices, y.tolist()))
