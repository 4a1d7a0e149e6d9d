"""Structured pruning: whole channels go, and what is left computes the same as if they were masked.

:func:`prune` is also what ``edgekit.prune(...)`` calls.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, fx, nn

from edgekit.callable import make_callable
from edgekit.errors import UsageError
from edgekit.graph import Graph, capture, cost
from edgekit.prune.groups import Channel, Coupling, Group, couple
from edgekit.prune.scores import Batches, Loss, scores
from edgekit.prune.surgery import cut

__all__ = ["Group", "PruneReport", "PruneResult", "Width", "couple", "prune"]


@dataclass(frozen=True)
class Width:
    """Channels of one group before and after."""

    name: str
    before: int
    after: int


@dataclass(frozen=True)
class PruneReport:
    """What pruning did: sizes before and after, one entry for each group cut, and why the others were not."""

    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int
    layers: tuple[Width, ...]
    not_pruned: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self) | {"not_pruned": [{"name": name, "reason": reason} for name, reason in self.not_pruned]}


@dataclass(frozen=True)
class PruneResult:
    """A smaller graph and the report on it."""

    graph: Graph
    report: PruneReport


def prune(
    graph: Graph | nn.Module,
    ratio: float,
    *,
    importance: str = "l2",
    scope: str = "local",
    round_to: int = 1,
    exclude: Sequence[str] = (),
    data: Batches | None = None,
    loss: Loss | None = None,
    example_inputs: Any = None,
) -> PruneResult:
    """Cut the least important channels out of a copy of ``graph``.

    Args:
        graph: a Graph, or a module together with ``example_inputs``.
        ratio: share of the channels to cut, in (0, 1).
        importance: ``l1`` or ``l2`` of the weights (no data needed), or ``taylor``, which takes ``data`` and ``loss``.
        scope: ``local`` cuts this share of each group; ``global`` ranks the channels of all groups together.
        round_to: widths stay multiples of this, where the group has that many channels.
        exclude: names of nodes (globs) whose output channels stay.
        data: for taylor, pairs of (inputs, targets); inputs are a tensor, a tuple, or a dict by input name.
        loss: for taylor, a function of (output, targets).
        example_inputs: for a module, as of :func:`edgekit.graph.capture.capture`.

    Raises:
        UsageError: for an argument out of range, a glob that names nothing, or a module without ``example_inputs``.
    """
    _check(ratio, scope, round_to)
    source = _captured(graph, example_inputs)
    smaller = source.copy()
    coupling = couple(smaller, _excluded(smaller, [exclude] if isinstance(exclude, str) else exclude))
    values = scores(source, coupling.groups, importance, data, loss)
    victims = _select(coupling.groups, values, ratio, scope, round_to)
    cut(smaller, coupling, [channel for group in victims for channel in group])
    return PruneResult(smaller, _report(source, smaller, coupling, victims))


def _check(ratio: float, scope: str, round_to: int) -> None:
    if not isinstance(ratio, (int, float)) or not 0 < ratio < 1:
        raise UsageError(f"ratio must be a number between 0 and 1, got {ratio!r}.")
    if scope not in ("local", "global"):
        raise UsageError(f"scope {scope!r} is not known.", fix='Use "local" or "global".')
    if not isinstance(round_to, int) or round_to < 1:
        raise UsageError(f"round_to must be a whole number of at least 1, got {round_to!r}.")


def _captured(graph: Graph | nn.Module, example_inputs: Any) -> Graph:
    if isinstance(graph, Graph):
        return graph
    if example_inputs is None:
        raise UsageError("a module can only be pruned together with example_inputs=.", fix="Pass them, or a Graph.")
    return capture(graph, example_inputs)


def _excluded(graph: Graph, patterns: Iterable[str]) -> list[fx.Node]:
    calls = [node for node in graph.nodes if node.op == "call_function"]
    found = []
    for pattern in patterns:
        matches = [node for node in calls if fnmatch.fnmatchcase(node.name, pattern)]
        if not matches:
            raise UsageError(
                f"exclude names {pattern!r}, but no node is called so.", fix="`edgekit inspect` lists the nodes."
            )
        found += matches
    return found


def _select(
    groups: Sequence[Group], values: Sequence[Tensor], ratio: float, scope: str, round_to: int
) -> list[list[Channel]]:
    """The channels to cut from each group, least important first; no group is ever emptied."""
    free = [[i for i, channel in enumerate(group.channels) if not channel.frozen] for group in groups]
    if scope == "local":
        wanted = [_share(ratio, len(indices)) for indices in free]
    else:
        every = sorted(float(value[i]) for value, indices in zip(values, free, strict=True) for i in indices)
        limit = every[_share(ratio, len(every))] if every else -math.inf
        wanted = [int((value[indices] < limit).sum()) for value, indices in zip(values, free, strict=True)]
    victims = []
    for group, value, indices, count in zip(groups, values, free, wanted, strict=True):
        order = sorted(indices, key=lambda i, value=value: (float(value[i]), i))  # type: ignore[misc]
        victims.append([group.channels[i] for i in order[: _rounded(len(group.channels), count, round_to)]])
    return victims


def _share(ratio: float, count: int) -> int:
    """``ratio * count`` rounded down, but 0.29 of 100 is 29, although 0.29 * 100 is less in binary."""
    return math.floor(ratio * count + 1e-9)


def _rounded(width: int, count: int, round_to: int) -> int:
    """How many of ``width`` channels to cut, at most ``count``, so that a positive multiple of ``round_to`` stays."""
    keep = -(-max(width - count, 1) // round_to) * round_to
    return max(width - keep, 0)


def _report(before: Graph, after: Graph, coupling: Coupling, victims: list[list[Channel]]) -> PruneReport:
    widths = tuple(
        Width(group.name, len(group.channels), len(group.channels) - len(gone))
        for group, gone in zip(coupling.groups, victims, strict=True)
        if gone
    )
    kept = [(group.name, group.frozen) for group in coupling.groups if group.frozen and _is_output(before, group)]
    return PruneReport(
        cost.total_macs(before), cost.total_macs(after), cost.total_parameters(before), cost.total_parameters(after),
        widths, (*coupling.refusals, *kept),
    )  # fmt: skip


def _is_output(graph: Graph, group: Group) -> bool:
    """Whether the channels are some layer's output: inputs of the model are nothing that one would think to prune."""
    weights = {name for name, parameter in graph.named_parameters() if parameter.dim() > 1}
    return any(dim == 0 and path in weights for path, dim in group.places)


make_callable(__name__, prune)
