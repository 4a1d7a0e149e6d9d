"""What is quantised, with whose scale, and what stays in float and why: a plan for :mod:`edgekit.quant.insert`.

The result is the superset of pairs that ONNX Runtime wants: behind every operator with an integer form, also in front
of an addition, and one in front of a fused clamp that shares the clamp's scale. Export for TensorRT removes some of
them; nothing else adds any.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import fx

from edgekit.errors import OperatorError, UnsupportedError, UsageError, did_you_mean
from edgekit.graph import Graph, edit, front, kinds, notes, patterns
from edgekit.graph.groups import Groups
from edgekit.quant.rules import why_not


@dataclass
class Plan:
    """Which node's values give the scale of which node's output.

    Attributes:
        kept: calls that stay in float, and why.
        observed: nodes whose values calibration must see, in order, and the node that the scale is named after.
        scale_of: for every quantised node, the node that its scale is named after.
        inside: for every recurrent layer, the node that each of its quantities' scales is named after, in the order of
            the layer's ``scales``; :func:`edgekit.quant.recurrent.expose` fills it in.
    """

    kept: dict[fx.Node, str] = field(default_factory=dict)
    observed: dict[fx.Node, fx.Node] = field(default_factory=dict)
    scale_of: dict[fx.Node, fx.Node] = field(default_factory=dict)
    inside: dict[fx.Node, tuple[fx.Node, ...]] = field(default_factory=dict)

    def is_integer(self, node: fx.Node) -> bool:
        """Whether a call is computed on integers."""
        return node in self.scale_of and node not in self.kept and kinds.kind_of(node) is not None

    def fused_clamp(self, node: fx.Node) -> fx.Node | None:
        """The clamp that becomes part of a call."""
        clamp = patterns.fused_clamp(node)
        return None if clamp in self.kept else clamp


def plan(graph: Graph, keep_float: Iterable[str] = (), strict: bool = False) -> Plan:
    """Decide for every float activation of a canonical graph with folded batch norm and attention written out.

    Args:
        graph: the float graph.
        keep_float: calls, by their names or those of their values, or modules with all that is in them, to leave in
            float.
        strict: refuse an operator that has no integer form instead of leaving it in float.

    Raises:
        OperatorError: under ``strict``, for the first operator without an integer form, with its source line.
        NumericsError: for a layer whose sums int32 does not hold, with its source line.
        UnsupportedError: for a graph in which there is nothing to quantise.
        UsageError: for a name in ``keep_float`` that the graph does not have.
    """
    found = decide(graph, keep_float, strict)
    if not any(map(found.is_integer, found.scale_of)):
        raise UnsupportedError(
            "the graph has no operator on activations: there is nothing to quantise.",
            "; ".join(f"{edit.describe(node)}: {reason}" for node, reason in list(found.kept.items())[:3]),
        )
    return found


def decide(graph: Graph, keep_float: Iterable[str] = (), strict: bool = False) -> Plan:
    """:func:`plan`, also where there is nothing to quantise."""
    kept = _without_integer_form(graph, _known(graph, keep_float))
    if strict:
        _refuse(kept)
    kept |= _cells(graph)
    if any(_is_heavy(node) for node in _calls(graph) if node not in kept):
        kept |= _front(graph)
        kept |= _far_from_products(graph, kept)
    found = Plan({node: kept[node] for node in graph.nodes if node in kept})
    _give_scales(graph, found)
    return found


def _calls(graph: Graph) -> list[fx.Node]:
    """The nodes with what calls compute in float; the parts of a tuple are those of the call that gives it."""
    calls = [node for node in edit.calls(graph.module) if node.target is not operator.getitem]
    calls = [node for node in calls if kinds.is_float(node) or isinstance(node.meta.get("val"), tuple)]
    return [kinds.value_of(node) for node in calls]


def _without_integer_form(graph: Graph, keep_float: tuple[str, ...]) -> dict[fx.Node, str]:
    reasons = {node: _asked(node, keep_float) or why_not(graph, node) for node in _calls(graph)}
    return {node: reason for node, reason in reasons.items() if reason}


def _known(graph: Graph, keep_float: Iterable[str]) -> tuple[str, ...]:
    asked, known = tuple(keep_float), {name for node in edit.calls(graph.module) for name in _names(node)}
    for name in asked:
        if name not in known:
            raise UsageError(
                f"keep_float: the graph has no call and no module {name!r}.{did_you_mean(name, known)}",
                fix="`edgekit explain` lists the calls.",
            )
    return asked


def _names(node: fx.Node) -> set[str]:
    return notes.names(node).union(edit.module_paths(node))


def _asked(node: fx.Node, keep_float: tuple[str, ...]) -> str:
    names = _names(node) | _names(kinds.call_of(node))
    return "it was asked to stay in float" if names.intersection(keep_float) else ""


def _refuse(kept: dict[fx.Node, str]) -> None:
    for node, reason in kept.items():
        if reason != _asked(node, (node.name,)):
            raise OperatorError(
                f"{edit.describe(node)} cannot be quantised: {reason}.",
                fix="Leave out strict and it stays in float, or replace the operator.",
            )


def _cells(graph: Graph) -> dict[fx.Node, str]:
    """What only moves the cell of an LSTM: it goes on in float, as exact as it comes."""
    moved = set[fx.Node]()
    for node in edit.calls(graph.module):
        kind = kinds.kind_of(node)
        is_cell = node.target is operator.getitem and edit.is_call(node.args[0], *kinds.KINDS_OF_FIRST)
        if (is_cell and kind is None) or (
            kind is not None and kind.shares and moved.intersection(kinds.operands(node))
        ):
            moved.add(node)
    return {
        node: "it moves the cell of an LSTM, which has 16 bits" for node in moved if kinds.kind_of(node) is not None
    }


def _front(graph: Graph) -> dict[fx.Node, str]:
    """Preprocessing stays in float: all that computes from inputs and constants alone, unless it only moves values.

    The rows of an embedding are learned: what computes from them is no preprocessing.
    """
    learned = set[fx.Node]()
    for node in edit.calls(graph.module):
        if kinds.kind_of(node) is kinds.EMBEDDING or not learned.isdisjoint(node.all_input_nodes):
            learned.add(node)
    found = [n for n in front.front_calls(graph) if n not in learned and kinds.is_float(n)]
    computing = {n for n in found if (kind := kinds.kind_of(n)) is None or not kind.shares}
    needed = edit.with_sources(computing)
    reason = "it prepares the input, before anything learned"
    return {node: reason for node in found if node in needed}


def _far_from_products(graph: Graph, kept: dict[fx.Node, str]) -> dict[fx.Node, str]:
    """Operators without a layer next to them: int8 in between floats saves nothing and rounds."""
    groups = Groups()
    able = [node for node in _calls(graph) if node not in kept]
    for node in able:
        groups.add(node)
        for source in filter(set(able).__contains__, kinds.operands(node)):
            groups.join(source, node)
    heavy = {groups.find(node) for node in able if _is_heavy(node)}
    reason = "no layer is next to it, only operators in float"
    return {node: reason for node in able if groups.find(node) not in heavy}


def _is_heavy(node: fx.Node) -> bool:
    kind = kinds.kind_of(node)
    return kind is not None and (kind.products or kind is kinds.EMBEDDING)


def _give_scales(graph: Graph, found: Plan) -> None:
    """Moved bytes share the scale of what they come from; everything else has one of its own."""
    able = {node: None for node in _calls(graph) if node not in found.kept}
    groups, sources = Groups(), dict[fx.Node, fx.Node]()  # whose values give the scale of which node
    for node in able:
        for source in kinds.operands(node):
            if source not in able and groups.add(source):
                sources[source] = source
        kind = kinds.kind_of(node)
        if (kind is None or not kind.shares) and groups.add(node):
            clamp = found.fused_clamp(node)
            sources[clamp or node] = node
            if clamp is not None and groups.add(clamp):
                groups.join(node, clamp)
        for source in kinds.sharing(node):
            groups.add(node)
            groups.join(source, node)
    named = dict[fx.Node, fx.Node]()
    for values, node in sorted(sources.items(), key=lambda pair: pair[0].op == "get_attr"):  # what is computed first
        named.setdefault(groups.find(node), values)
        found.observed[values] = named[groups.find(node)]
    order = {node: named[groups.find(node)] for node in groups.members()}
    found.scale_of = {node: order[node] for node in graph.nodes if node in order}
