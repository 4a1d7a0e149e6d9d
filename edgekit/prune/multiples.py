"""Widths that a target's kernels are made for: a channel less than that saves nothing."""

from __future__ import annotations

from collections.abc import Callable

from edgekit import targets
from edgekit.errors import UsageError
from edgekit.prune.groups import Coupling, Group


def multiple_for(round_to: int | str) -> Callable[[Coupling, Group], int]:
    """What the width of a group stays a multiple of.

    Args:
        round_to: the multiple itself, or a runtime or device of ``targets.toml``: then the largest that an operator
            wants which reads or writes the channels.

    Raises:
        UsageError: for less than 1, or a name that the table does not have.
    """
    if isinstance(round_to, str):
        wanted = targets.channel_multiples(round_to)
        return lambda coupling, group: _of_operators(wanted, coupling, group)
    if not isinstance(round_to, int) or round_to < 1:
        raise UsageError(f"round_to must be a whole number of at least 1, got {round_to!r}.")
    return lambda *_: round_to


def _of_operators(wanted: dict[str, int], coupling: Coupling, group: Group) -> int:
    """Where blocks go whole, each brings its own channels, so that fewer blocks make a multiple."""
    names = {name.rpartition(".")[2] for path, _ in group.places for name in coupling.readers.get(path, ())}
    multiple = max(wanted.get(name, wanted["other"]) for name in names)
    each = min(indices.shape[1] for indices in group.indices)
    while each > 1 and multiple > 1 and each % 2 == 0:
        each, multiple = each // 2, multiple // 2
    return multiple
