"""How much each channel matters: a score at every place it runs through, made comparable there, then made one.

``l1``, ``l2``
    The norm of its weights (Li et al. 2017, arXiv:1608.08710).
``batch_norm``
    The scale that batch norm gives it (Liu et al. 2017, arXiv:1708.06519); the norm ``l2`` where there is none.
``fpgm``
    The distance of its filter to all others of the layer: the most replaceable goes (He et al. 2019, arXiv:1811.00250).
``lamp``
    The share of its squared weights in those of all that are not smaller (Lee et al. 2021, arXiv:2010.07611).
``taylor``
    What cutting it costs to first order, ``|sum w * dL/dw|`` (Molchanov et al. 2019, arXiv:1906.10771).
``hessian``
    To second order, ``sum w**2 * h / 2`` (LeCun et al. 1990), ``h`` the mean square of each item's gradient, which is
    the diagonal of the Fisher information and near a minimum stands for the Hessian's.
``activation``
    The mean magnitude of what the layers that read it see.
``random``
    From the seed: what every other one has to beat.

Only ``taylor``, ``hessian`` and ``activation`` need data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from edgekit.errors import UsageError
from edgekit.graph import Graph, edit
from edgekit.prune.groups import Group, Place
from edgekit.prune.measured import Batches, Loss, mean_magnitudes, squared_gradients, summed_gradients

aten = torch.ops.aten

WITH_LOSS = ("taylor", "hessian")
WITH_DATA = (*WITH_LOSS, "activation")
IMPORTANCES = ("l1", "l2", "batch_norm", "fpgm", "lamp", *WITH_DATA, "random")
REDUCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {  # of [places, channels]
    "mean": lambda values: values.mean(0),
    "max": lambda values: values.amax(0),
    "sum": lambda values: values.sum(0),
}
NORMALISATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {  # of [channels], 0 where nothing divides
    "mean": Tensor.mean,
    "max": Tensor.amax,
    "sum": Tensor.sum,
    "none": lambda values: torch.ones((), dtype=values.dtype),
}
TINY = torch.finfo(torch.float64).tiny
Needed = TypeVar("Needed")


def scores(
    graph: Graph,
    groups: Sequence[Group],
    importance: str,
    data: Batches | None = None,
    loss: Loss | None = None,
    *,
    reduce: str = "mean",
    normalise: str = "mean",
    seed: int = 0,
) -> list[Tensor]:
    """One float64 tensor [channels] for each group; larger matters more.

    Args:
        graph: the graph that the groups were found in, or one with the same tensors.
        groups: from :func:`edgekit.prune.groups.couple`.
        importance: one of :data:`IMPORTANCES`.
        data: pairs of (inputs, targets), for those that need it.
        loss: a function of (output, targets), for ``taylor`` and ``hessian``.
        reduce: what a channel's scores at several places become: their ``mean``, ``max`` or ``sum``.
        normalise: what each place's scores are divided by: their ``mean``, ``max``, ``sum``, or ``none``.
        seed: for ``random``.

    Raises:
        UsageError: for a word that is not known, or data or loss that is missing.
    """
    for word, known, name in ((importance, IMPORTANCES, "importance"), (reduce, REDUCTIONS, "reduce"),
                              (normalise, NORMALISATIONS, "normalise")):  # fmt: skip
        if word not in known:
            raise UsageError(f"{name} {word!r} is not known.", fix=f"Use one of {', '.join(known)}.")
    if importance == "random":
        generator = torch.Generator().manual_seed(seed)
        return [torch.rand(len(group), generator=generator, dtype=torch.float64) for group in groups]
    at = _at_places(graph, groups, importance, data, loss)
    return [_of_group(at, group, reduce, normalise) for group in groups]


Scores = Callable[[Group, int], "Tensor | None"]  # of the channels of a group at one of its places, where it has any


def _at_places(
    graph: Graph, groups: Sequence[Group], importance: str, data: Batches | None, loss: Loss | None
) -> Scores:
    if importance == "activation":
        return _of_indices(mean_magnitudes(graph, _needed(importance, data)).get, _sum)
    if importance == "taylor":
        sums = summed_gradients(graph, _needed(importance, data), _needed(importance, loss))
        return _of_indices(_over(sums, _plain_sum), lambda numbers: _sum(numbers).abs())
    if importance == "hessian":
        seconds = squared_gradients(graph, _needed(importance, data), _needed(importance, loss))
        return _of_indices(_over(seconds, _plain_sum), lambda numbers: _sum(numbers) / 2)
    weights = {name: p.detach().float() for name, p in graph.named_parameters() if p.dim() > 1}
    if importance == "fpgm":
        return _of_distances(weights)
    magnitudes, squares = (_over(weights, partial(_group_scores, power=power)) for power in (1, 2))
    if importance == "l1":
        return _of_indices(magnitudes, _sum)
    if importance == "lamp":
        return _of_indices(squares, lambda numbers: _shares(_sum(numbers)))
    norms = _of_indices(squares, lambda numbers: _sum(numbers).sqrt())
    if importance == "batch_norm":
        return _either(groups, _of_indices(_batch_norm_scales(graph).get, _sum), norms)
    return norms


def _needed(importance: str, value: Needed | None) -> Needed:
    if value is None:
        what = "data= and loss=" if importance in WITH_LOSS else "data="
        raise UsageError(
            f"importance {importance!r} needs {what}.", fix="Pass them, or use importance='l2', which needs neither."
        )
    return value


Numbers = Callable[[Place], "Tensor | None"]  # of the indices of a dimension, where it has any


def _of_indices(numbers: Numbers, score: Callable[[Tensor], Tensor]) -> Scores:
    """``score`` of the numbers [channels, each] that belong to the indices of each channel."""

    def at(group: Group, column: int) -> Tensor | None:
        found = numbers(group.places[column])
        return None if found is None else score(found[torch.from_numpy(group.indices[column])])

    return at


def _over(values: Mapping[str, Tensor], reduce: Callable[[Tensor, int], Tensor]) -> Numbers:
    """Each tensor reduced over all of its dimensions but the one asked for."""
    return lambda place: reduce(values[place[0]], place[1]) if place[0] in values else None


def _plain_sum(values: Tensor, dim: int) -> Tensor:
    return values.sum([d for d in range(values.dim()) if d != dim])


def _group_scores(values: Tensor, dim: int, power: int) -> Tensor:
    found: Tensor = torch.ops.edgekit.group_scores(values, dim)[power - 1]
    return found.double().cpu()


def _sum(numbers: Tensor) -> Tensor:
    return numbers.sum(1)


def _shares(squares: Tensor) -> Tensor:
    """Squares divided by the sum of all that are not smaller."""
    squares, order = squares.sort()
    not_smaller = squares.flip(0).cumsum(0).flip(0)
    result = torch.zeros_like(squares)
    result[order] = squares / not_smaller.clamp(min=TINY)
    return result


def _of_distances(weights: Mapping[str, Tensor]) -> Scores:
    """The sum of the distances of each channel's weights to those of all others."""

    def at(group: Group, column: int) -> Tensor | None:
        path, dim = group.places[column]
        if path not in weights:
            return None
        slices = weights[path].double().cpu().movedim(dim, 0)[torch.from_numpy(group.indices[column])]
        rows = slices.reshape(len(group), -1)
        return torch.cdist(rows, rows).sum(1)

    return at


def _either(groups: Sequence[Group], first: Scores, second: Scores) -> Scores:
    """The first for groups of which it says something, else the second."""
    told = {id(g) for g in groups if any(first(g, column) is not None for column in range(len(g.places)))}
    return lambda group, column: (first if id(group) in told else second)(group, column)


def _batch_norm_scales(graph: Graph) -> dict[tuple[str, int], Tensor]:
    found = [edit.arguments(n)["weight"] for n in edit.calls(graph.module) if n.target is aten.batch_norm.default]
    stored = [n for n in found if n is not None and n.op == "get_attr"]
    return {(str(n.target), 0): edit.get_tensor(graph.module, n).detach().double().abs().cpu() for n in stored}


def _of_group(at: Scores, group: Group, reduce: str, normalise: str) -> Tensor:
    places = [value for column in range(len(group.places)) if (value := at(group, column)) is not None]
    if not places:
        return torch.zeros(len(group), dtype=torch.float64)
    divided = [value / NORMALISATIONS[normalise](value).clamp(min=TINY) for value in places]
    return REDUCTIONS[reduce](torch.stack(divided))
