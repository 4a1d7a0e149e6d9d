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
from edgekit.prune.groups import Channel
from edgekit.prune.scores import scores
from edgekit.prune.select import Rule, select
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


def chosen(graph: Graph, ratio: float) -> list[Channel]:
    coupling = couple(graph)
    return [c for group in select(coupling, scores(graph, coupling.groups, "l2"), ratio, Rule()) for c in group]


def masked(graph: Graph, victims: Sequence[Channel]) -> Graph:
    """A copy in which every layer that reads a victim multiplies it by zero."""
    copy = graph.copy()
    with torch.no_grad():
        for channel in victims:
            for member in channel.members:
                if member.dim == 1:
                    edit.get_by_path(copy.module, member.path)[:, list(member.indices)] = 0
    return copy


def check(graph: Graph, inputs: Sequence[Tensor], ratio: float, blocks: str = "whole", importance: str = "l2") -> Graph:
    """Cut a copy and hold every value of it against the oracle; returns the copy."""
    before, after = graph.copy(), graph.copy()
    reference, coupling = couple(before), couple(after)
    victims = select(coupling, scores(graph, coupling.groups, importance), ratio, Rule(blocks=blocks))
    gone = {channel.choice for group in victims for channel in group}
    same = [channel for group in reference.groups for channel in group.channels if channel.choice in gone]
    cut(after, coupling, [channel for group in victims for channel in group])
    check_every_value(before, reference, same, after, inputs)
    return after


def check_against_mask(graph: Graph, ratio: float, inputs: Sequence[Tensor]) -> PruneReport:
    victims = chosen(graph, ratio)
    result = ek.prune(graph, ratio)
    assert bool(victims) == (result.report.macs_after < result.report.macs_before)
    if victims:
        assert_close(in_double(result.graph, inputs), in_double(masked(graph, victims), inputs))
    else:
        assert same(result.graph(*inputs), graph(*inputs))
    return result.report


def indices(victims: Sequence[Channel], path: str) -> list[int]:
    found = [member for channel in victims for member in channel.members if (member.path, member.dim) == (path, 0)]
    return sorted(index for member in found for index in member.indices)


def widths(graph: Graph) -> dict[str, int]:
    return {name: parameter.shape[0] for name, parameter in graph.named_parameters()}
