"""How much each channel matters. A score is a mean over the places a channel runs through, each normalised by that place's mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.prune.groups import Group, Member

Loss = Callable[[Any, Any], Tensor]
Batches = Iterable[tuple[Sequence[Tensor], Any]]
IMPORTANCES = ("l1", "l2", "taylor")


def scores(graph: Graph, groups: Sequence[Group], importance: str, data: Batches | None = None, loss: Loss | None = None) -> list[Tensor]:
    """One float64 tensor [channels] for each group; larger matters more.

    Args:
        importance: ``l1`` or ``l2``, the norm of a channel's weights (Li et al. 2017, needs no data), or ``taylor``,
            the loss that cutting it would cost to first order, ``|sum w * dL/dw|`` (Molchanov et al. 2019).
        data: for taylor, pairs of (inputs, targets).
        loss: for taylor, a function of (output, targets).
    """
    if importance not in IMPORTANCES:
        raise UsageError(f"importance {importance!r} is not known.", fix=f"Use one of {', '.join(IMPORTANCES)}.")
    if importance != "taylor":
        power = 1 if importance == "l1" else 2
        values = {name: p.detach().double().abs() ** power for name, p in graph.named_parameters() if p.dim() > 1}
        return [_reduce(values, group, 1 / power) for group in groups]
    if data is None or loss is None:
        raise UsageError("importance 'taylor' needs data= and loss=.", fix="Pass them, or use importance='l2', which needs neither.")
    return [_reduce(values, group, 1.0) for values in [_taylor(graph, data, loss)] for group in groups]


def _taylor(graph: Graph, data: Batches, loss: Loss) -> dict[str, Tensor]:
    graph = graph.copy().eval()
    sums = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in graph.named_parameters() if p.dim() > 1}
    for inputs, targets in data:
        graph.module.zero_grad()
        loss(graph(*inputs), targets).backward()  # type: ignore[no-untyped-call]
        for name, parameter in graph.named_parameters():
            if name in sums and parameter.grad is not None:
                sums[name] += (parameter.detach() * parameter.grad).double()
    return sums


def _reduce(values: dict[str, Tensor], group: Group, root: float) -> Tensor:
    """Mean over the group's places of (sum of the slice's values) ** root, each place normalised by its own mean."""
    total, count = torch.zeros(len(group.channels), dtype=torch.float64), 0
    for column, member in enumerate(group.channels[0].members):
        if member.path in values:
            place = torch.stack([_slice_sum(values[c.members[column].path], c.members[column]) for c in group.channels])
            place = place.abs() ** root
            total += place / place.mean().clamp(min=torch.finfo(torch.float64).tiny)
            count += 1
    return total / max(count, 1)


def _slice_sum(value: Tensor, member: Member) -> Tensor:
    return value.index_select(member.dim, torch.tensor(member.indices)).sum()


