"""The oracle of pruning: the same graph with the channels masked."""

from __future__ import annotations

from collections.abc import Sequence

import nets
import torch
from nets import same
from torch import Tensor

import edgekit as ek
from edgekit.graph import Graph, edit
from edgekit.prune import PruneReport, _select, couple
from edgekit.prune.groups import Channel
from edgekit.prune.scores import scores

# Pruned and masked graphs are compared in double: they add the same products, but for zeros, in another order. A sum of
# n <= 2000 terms errs by at most n * 2**-53 of the sum of their sizes; ten layers, none of which amplifies by more
# than 100 in all, stay below 10 * 100 * 2000 * 2**-53 < 1e-9 of the largest output. A wrong cut is off by far more.
ROUNDING = 1e-9


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
    groups = couple(graph).groups
    return [c for group in _select(groups, scores(graph, groups, "l2"), ratio, "local", 1) for c in group]


def masked(graph: Graph, victims: Sequence[Channel]) -> Graph:
    """A copy in which every layer that reads a victim multiplies it by zero."""
    copy = graph.copy()
    with torch.no_grad():
        for channel in victims:
            for member in channel.members:
                if member.dim == 1:
                    edit.get_by_path(copy.module, member.path)[:, list(member.indices)] = 0
    return copy


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
