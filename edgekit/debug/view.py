"""A graph and what was decided for each of its tensors, read from a plan or from the pairs that a plan became."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import fx

from edgekit.fuse.lower import why_float
from edgekit.graph import Graph, edit, kinds, notes, patterns
from edgekit.quant.plan import Plan, decide

PASSED = (patterns.FAKE_QUANTIZE, patterns.AS_FLOAT, *patterns.TRAINING_ONLY)


@dataclass
class View:
    """What stands in INT8, and what in float.

    Attributes:
        graph: float, as quantisation takes it, or quantised.
        group: for every quantised tensor, what all that share its scale have in common.
        integer: the calls that are computed on integers.
        kept: the calls that are computed in float, and why.
        clamp: the clamp that is part of a call.
        scale: of each group, where it is known.
    """

    graph: Graph
    group: dict[fx.Node, object] = field(default_factory=dict)
    integer: set[fx.Node] = field(default_factory=set)
    kept: dict[fx.Node, str] = field(default_factory=dict)
    clamp: dict[fx.Node, fx.Node] = field(default_factory=dict)
    scale: dict[object, float] = field(default_factory=dict)

    def readers(self, node: fx.Node) -> list[fx.Node]:
        """The calls that read a tensor, pairs and dropout looked through."""
        found = list[fx.Node]()
        for user in node.users:
            found += self.readers(user) if user.target in PASSED else [kinds.value_of(user)]
        return [user for user in found if user.op == "call_function"]

    def reads_bytes(self, node: fx.Node) -> list[fx.Node]:
        """The calls that read a tensor in INT8."""
        return [user for user in self.readers(node) if user in self.integer]


def of_float(graph: Graph, keep_float: Iterable[str] = ()) -> View:
    """What :func:`edgekit.quant.quantize` would do with a graph that is prepared for it."""
    placed: Plan = decide(graph, keep_float)
    integer = {node for node in placed.scale_of if placed.is_integer(node)}
    clamps = {node: clamp for node in integer if (clamp := placed.fused_clamp(node)) is not None}
    return View(graph, dict(placed.scale_of), integer, placed.kept, clamps)


def of_quantised(graph: Graph) -> View:
    """What stands in a quantised graph."""
    view = View(graph, kept={node: why_float(node) for node in patterns.float_calls(graph)})
    for cell in patterns.cells(graph):
        members = [cell.body] if cell.clamp is None else [cell.body, cell.clamp]
        view.group |= dict.fromkeys(members, cell.scale.target)
        view.scale[cell.scale.target] = float(edit.get_tensor(graph.module, cell.scale))
        if not cell.is_border:
            view.integer.update(members)
            view.clamp |= {cell.body: cell.clamp} if cell.clamp is not None else {}
    return view


def first_of_group(view: View) -> dict[object, str]:
    """The name of the first tensor of each group."""
    found: dict[object, str] = {}
    for node in sorted(view.graph.nodes, key=lambda node: node.op == "get_attr"):  # what is computed gives the name
        if node in view.group:
            found.setdefault(view.group[node], notes.value_name(view.clamp.get(node, node)))
    return found


def is_float_tensor(node: fx.Node) -> bool:
    """Whether a node holds a float tensor that a user could ask about; pairs are part of the tensor in front."""
    return kinds.is_float(node) and node.target not in (patterns.FAKE_QUANTIZE, patterns.AS_FLOAT)
