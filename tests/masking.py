"""Pruned graphs against the oracle of :mod:`masked`, and against the same graph with weights of 0."""

from __future__ import annotations

from collections.abc import Sequence

import nets
import torch
from masked import ROUNDING, check_every_value
from nets import same
from torch import Tensor

import edgekit as ek
from edgekit.graph import Graph, edit
from edgekit.prune import PruneReport, couple
from edgekit.prune.groups import Coupling, Group, Place
from edgekit.prune.scores import scores
from edgekit.prune.select import Rule, gone, select
from edgekit.prune.surgery import cut


def in_double(subject: Graph, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    copy = subject.copy()
    copy.module.double()
    with torch.no_grad():
        return nets.tensors(copy(*(x.double() for x in inputs)))


def assert_close(got: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape
        assert float((a - b).detach().abs().max()) <= ROUNDING * (1 + float(b.detach().abs().max()))


def chosen(graph: Graph, ratio: float) -> tuple[Coupling, frozenset[int]]:
    """The analysis of a graph, and the choices to cut."""
    coupling = couple(graph)
    return coupling, gone(select(coupling, scores(graph, coupling.groups, "l2"), ratio, Rule()))


def members(group: Group, channel: int) -> dict[Place, tuple[int, ...]]:
    """Indices of one channel at every place."""
    return {place: tuple(column[channel].tolist()) for place, column in zip(group.places, group.indices, strict=True)}


def every_member(coupling: Coupling, choices: frozenset[int]) -> list[tuple[Place, tuple[int, ...]]]:
    """(place, indices) of the channels with these choices."""
    pairs = [(group, i) for group in coupling.groups for i, choice in enumerate(group.choices) if choice in choices]
    return [one for group, i in pairs for one in members(group, i).items()]


def masked(graph: Graph, coupling: Coupling, victims: frozenset[int]) -> Graph:
    """A copy in which every layer that reads a victim multiplies it by zero."""
    copy = graph.copy()
    with torch.no_grad():
        for (path, dim), indices in every_member(coupling, victims):
            if dim == 1:
                edit.get_by_path(copy.module, path)[:, list(indices)] = 0
    return copy


def check(graph: Graph, inputs: Sequence[Tensor], ratio: float, blocks: str = "whole", importance: str = "l2") -> Graph:
    """Cut a copy and hold every value of it against the oracle; returns the copy."""
    before, after = graph.copy(), graph.copy()
    reference, coupling = couple(before), couple(after)
    victims = select(coupling, scores(graph, coupling.groups, importance), ratio, Rule(blocks=blocks))
    cut(after, coupling, gone(victims))
    check_every_value(before, reference, gone(victims), after, inputs)
    return after


def check_against_mask(graph: Graph, ratio: float, inputs: Sequence[Tensor]) -> PruneReport:
    coupling, victims = chosen(graph, ratio)
    result = ek.prune(graph, ratio)
    assert bool(victims) == (result.report.macs_after < result.report.macs_before)
    if victims:
        assert_close(in_double(result.graph, inputs), in_double(masked(graph, coupling, victims), inputs))
    else:
        assert same(result.graph(*inputs), graph(*inputs))
    return result.report


def indices(coupling: Coupling, victims: frozenset[int], path: str) -> list[int]:
    found = [indices for place, indices in every_member(coupling, victims) if place == (path, 0)]
    return sorted(index for one in found for index in one)


def widths(graph: Graph) -> dict[str, int]:
    return {name: parameter.shape[0] for name, parameter in graph.named_parameters()}
