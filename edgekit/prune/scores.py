"""How much each channel matters: a mean over the places it runs through, each normalised by that place's own mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.prune.groups import Group, Member

Loss = Callable[[Any, Any], Tensor]
Inputs = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
Batches = Iterable[tuple[Inputs, Any]]
IMPORTANCES = ("l1", "l2", "taylor")


def scores(
    graph: Graph, groups: Sequence[Group], importance: str, data: Batches | None = None, loss: Loss | None = None
) -> list[Tensor]:
    """One float64 tensor [channels] for each group; larger matters more.

    Args:
        graph: the graph that the groups were found in, or one with the same tensors.
        groups: from :func:`edgekit.prune.groups.couple`.
        importance: ``l1`` or ``l2``, the norm of a channel's weights (Li et al. 2017, needs no data), or ``taylor``,
            the loss that cutting it would cost to first order, ``|sum w * dL/dw|`` (Molchanov et al. 2019).
        data: for taylor, pairs of (inputs, targets).
        loss: for taylor, a function of (output, targets).

    Raises:
        UsageError: for another importance, or taylor without data or loss.
    """
    if importance not in IMPORTANCES:
        raise UsageError(f"importance {importance!r} is not known.", fix=f"Use one of {', '.join(IMPORTANCES)}.")
    if importance != "taylor":
        power = 1 if importance == "l1" else 2
        values = {name: p.detach().double().abs() ** power for name, p in graph.named_parameters() if p.dim() > 1}
        return [_reduce(values, group, 1 / power) for group in groups]
    if data is None or loss is None:
        raise UsageError(
            "importance 'taylor' needs data= and loss=.", fix="Pass them, or use importance='l2', which needs neither."
        )
    values = _taylor(graph, data, loss)
    return [_reduce(values, group, 1.0) for group in groups]


def _taylor(graph: Graph, data: Batches, loss: Loss) -> dict[str, Tensor]:
    graph = graph.copy().eval()
    sums = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in graph.named_parameters() if p.dim() > 1}
    batches = 0
    for inputs, targets in data:
        graph.module.zero_grad()
        loss(_call(graph, inputs), targets).backward()  # type: ignore[no-untyped-call]
        for name, parameter in graph.named_parameters():
            if name in sums and parameter.grad is not None:
                sums[name] += (parameter.detach() * parameter.grad).double()
        batches += 1
    if not batches:
        raise UsageError("importance 'taylor' got no data.", fix="Pass at least one pair of (inputs, targets).")
    return sums


def _call(graph: Graph, inputs: Inputs) -> Any:
    if isinstance(inputs, Mapping):
        return graph(**inputs)
    return graph(inputs) if isinstance(inputs, Tensor) else graph(*inputs)


def _reduce(values: dict[str, Tensor], group: Group, root: float) -> Tensor:
    """Mean over the group's places of (sum of the slice's values) ** root, each place normalised by its own mean."""
    total, count = torch.zeros(len(group.channels), dtype=torch.float64), 0
    for column, member in enumerate(group.channels[0].members):
        if member.path in values:
            place = torch.stack([_slice_sum(values[c.members[column].path], c.members[column]) for c in group.channels])
            place = place.cpu().abs() ** root
            total += place / place.mean().clamp(min=torch.finfo(torch.float64).tiny)
            count += 1
    return total / max(count, 1)


def _slice_sum(value: Tensor, member: Member) -> Tensor:
    return value.index_select(member.dim, torch.tensor(member.indices, device=value.device)).sum()
