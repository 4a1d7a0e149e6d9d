"""What pruning did: widths, multiply-accumulates and parameters before and after, and what stayed and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgekit.graph import Graph, cost
from edgekit.prune.groups import Coupling, Group
from edgekit.prune.select import Victims

Cut = tuple[Coupling, Victims]


@dataclass(frozen=True)
class Width:
    """Channels of one group before and after."""

    name: str
    before: int
    after: int


@dataclass(frozen=True)
class LayerChange:
    """One operator with products or parameters before and after."""

    name: str
    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int


@dataclass(frozen=True)
class PruneReport:
    """What pruning did.

    Attributes:
        macs_before, macs_after: multiply-accumulates of one run with a batch of 1.
        parameters_before, parameters_after: shared ones count once.
        layers: the groups that were cut.
        operators: what became of each operator that computes products or reads parameters.
        not_pruned: (name, reason) of each operator that made its inputs unprunable, and of each layer that was not cut.
    """

    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int
    layers: tuple[Width, ...]
    operators: tuple[LayerChange, ...]
    not_pruned: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self) | {"not_pruned": [{"name": name, "reason": reason} for name, reason in self.not_pruned]}


@dataclass(frozen=True)
class PruneResult:
    """A smaller graph and the report on it."""

    graph: Graph
    report: PruneReport


def report(before: Graph, after: Graph, cuts: Sequence[Cut]) -> PruneReport:
    """Compare a graph with what cuts have made of it."""
    return PruneReport(
        cost.total_macs(before), cost.total_macs(after), cost.total_parameters(before), cost.total_parameters(after),
        _widths(cuts), _operators(before, after), _kept(before, cuts[0][0]),
    )  # fmt: skip


def _widths(cuts: Sequence[Cut]) -> tuple[Width, ...]:
    found: dict[str, Width] = {}
    for coupling, victims in cuts:
        for group, gone in zip(coupling.groups, victims, strict=True):
            if gone:
                first = found.get(group.name, Width(group.name, len(group), 0))
                found[group.name] = Width(group.name, first.before, len(group) - len(gone))
    return tuple(found.values())


def _operators(before: Graph, after: Graph) -> tuple[LayerChange, ...]:
    now = {layer.name: layer for layer in cost.layer_costs(after)}
    return tuple(
        LayerChange(old.name, old.macs, now[old.name].macs, old.parameters, now[old.name].parameters)
        for old in cost.layer_costs(before)
        if old.name in now and (old.macs or old.parameters)
    )


def _kept(graph: Graph, coupling: Coupling) -> tuple[tuple[str, str], ...]:
    frozen = [(group.name, group.frozen) for group in coupling.groups if group.frozen and _is_output(graph, group)]
    return (*coupling.refusals, *frozen)


def _is_output(graph: Graph, group: Group) -> bool:
    """Whether the channels are some layer's output: inputs of the model are nothing that one would think to prune."""
    weights = {name for name, parameter in graph.named_parameters() if parameter.dim() > 1}
    return any(dim == 0 and path in weights for path, dim in group.places)
