"""A second graph over the same tensors: in another mode, and with values from its inside among its outputs."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import fx

from edgekit.graph import Graph


def view(graph: Graph, taps: Sequence[str] = ()) -> Graph:
    """A graph with nodes of its own that shares every tensor with ``graph``.

    Training runs a view in training mode while the graph itself stays in inference mode, so that neither is switched
    and compiled again in every epoch.

    Args:
        graph: whose tensors are shared.
        taps: names of nodes whose values the view returns behind the graph's own outputs.
    """
    structure = copy.deepcopy(graph.module.graph)
    if taps:
        nodes = {node.name: node for node in structure.nodes}
        end = structure.output_node()
        result = end.args[0]
        own = (result,) if isinstance(result, fx.Node) else tuple(result)  # type: ignore[arg-type]
        end.args = ((*own, *(nodes[name] for name in taps)),)
    module = fx.GraphModule(graph.module, structure)
    names = (*graph.output_names, *taps)
    return Graph(module, graph.inputs, names, dict(graph.attention_dropout), graph.notes)
