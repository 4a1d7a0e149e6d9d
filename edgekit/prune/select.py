"""Which channels go: the least important of each group, of alike groups, or of all, and never all of anything."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from edgekit.errors import UsageError
from edgekit.prune.groups import Coupling, Group
from edgekit.prune.predict import Predicted
from edgekit.prune.surgery import keeper

Victims = list[list[int]]  # of each group the choices to cut, the least important first
Ratio = float | Mapping[str, float]
SCOPES = ("local", "global", "isomorphic")
BLOCKS = ("whole", "within", "both")
STEPS = 24  # of a search for a ratio: it ends closer than any net has channels


@dataclass(frozen=True)
class Rule:
    """How channels are chosen.

    Attributes:
        scope: which groups are ranked together: ``local`` none, ``global`` all, ``isomorphic`` those that run through
            the same kinds of layers (Fang et al. 2024, arXiv:2407.04616).
        multiple: what the width of a group stays a multiple of.
        blocks: of groups that are factors of one dimension, such as heads and the width of a head, cut the outermost
            (``whole``), the innermost (``within``) or ``both``.
        nearest: round widths to the nearest multiple, where a target says how much goes in all; else up, so that no
            group loses more than its ratio.
    """

    scope: str = "local"
    multiple: Callable[[Coupling, Group], int] = lambda *_: 1
    blocks: str = "whole"
    nearest: bool = False


def select(coupling: Coupling, values: Sequence[Tensor], ratio: Ratio, rule: Rule) -> Victims:
    """The channels to cut from each group, least important first.

    Args:
        coupling: of the graph.
        values: scores of each group's channels.
        ratio: share of the channels to cut, of all groups or by the name of a group; names may be globs, the first that
            matches counts, and groups without one stay whole.
        rule: how to choose.
    """
    groups = coupling.groups
    shares = [_share_of(group, ratio) for group in groups]
    free = [[i for i, reason in enumerate(group.fixed) if not reason] for group in groups]
    used = _used(groups, free, shares, rule)
    free = [indices if i in used else [] for i, indices in enumerate(free)]
    wanted = _wanted(coupling, values, free, shares, rule.scope)
    victims = []
    for group, value, indices, number in zip(groups, values, free, wanted, strict=True):
        score = value.tolist()
        order = sorted(indices, key=lambda i, score=score: (score[i], i))  # type: ignore[misc]
        least = max(len(group) - len(indices), 1)
        most = _rounded(len(group), number, rule.multiple(coupling, group), rule.nearest, least)
        victims.append([group.choices[i] for i in order[:most]])
    _leave_one(coupling, victims)
    return victims


def gone(victims: Victims) -> frozenset[int]:
    """The choices that are cut, of all groups."""
    return frozenset(choice for group in victims for choice in group)


def reach(
    coupling: Coupling, values: Sequence[Tensor], rule: Rule, cost: Callable[[Predicted], int], most: int
) -> Victims:
    """The fewest channels, by ratio, after which the graph costs no more than ``most``.

    Raises:
        UsageError: where no ratio goes so far.
    """
    rule = replace(rule, nearest=True)

    def tried(ratio: float) -> tuple[Victims, int]:
        victims = select(coupling, values, ratio, rule)
        return victims, cost(Predicted(coupling.state, keeper(coupling.state, gone(victims))))

    below, above = 0.0, 1.0 - 1e-6
    best, least = tried(above)
    if least > most:
        raise UsageError(
            f"no cut goes down to {most:,}: {least:,} is the least.",
            fix="Ask for less, or keep fewer layers whole (exclude, keep_residual).",
        )
    for _ in range(STEPS):
        middle = (below + above) / 2
        victims, reached = tried(middle)
        if reached <= most:
            best, above = victims, middle
        else:
            below = middle
    return best


def _share_of(group: Group, ratio: Ratio) -> float:
    if not isinstance(ratio, Mapping):
        return ratio
    return next((share for pattern, share in ratio.items() if fnmatch.fnmatchcase(group.name, pattern)), 0.0)


def _used(groups: Sequence[Group], free: Sequence[list[int]], shares: Sequence[float], rule: Rule) -> set[int]:
    """Of groups that are factors of one dimension, one is cut: the outermost or innermost that has enough channels."""
    used: set[int] = set()
    sign = 1 if rule.blocks == "whole" else -1
    for i in sorted(range(len(groups)), key=lambda i: (groups[i].factor * sign, i)):
        enough = _share(shares[i], len(free[i])) > 0
        if rule.blocks == "both" or (enough and used.isdisjoint(groups[i].rivals)):
            used.add(i)
    return used


def _wanted(
    coupling: Coupling, values: Sequence[Tensor], free: list[list[int]], shares: list[float], scope: str
) -> list[int]:
    """How many channels should go from each group, before widths are rounded."""
    if scope == "local":
        return [_share(share, len(indices)) for share, indices in zip(shares, free, strict=True)]
    kinds: list[Hashable] = [_kind(coupling, group) if scope == "isomorphic" else "" for group in coupling.groups]
    wanted = [0] * len(free)
    for kind in dict.fromkeys(zip(kinds, shares, strict=True)):
        members = [g for g, own in enumerate(zip(kinds, shares, strict=True)) if own == kind]
        ranked = sorted(float(values[g][i]) for g in members for i in free[g])
        limit = ranked[_share(kind[1], len(ranked))] if ranked else -math.inf
        for g in members:
            wanted[g] = int((values[g][free[g]] < limit).sum())
    return wanted


def _kind(coupling: Coupling, group: Group) -> Hashable:
    """The operators that read the tensors of a group, with the dimension."""
    readers = coupling.readers
    return (group.factor, *sorted((*readers.get(path, ()), str(dim)) for path, dim in group.places))


def _leave_one(coupling: Coupling, victims: Victims) -> None:
    """Spare the most important victim of whatever would be left with nothing."""
    choices = partial(_choices, coupling)
    while True:
        cut = gone(victims)
        kept = keeper(coupling.state, cut)
        empty = next((dim for dim in coupling.together if not kept(dim).any()), None)
        if empty is None:
            return
        ranks = {choice: i for group in victims for i, choice in enumerate(group)}  # the last matters most
        spared = max(map(choices, empty.tolist()), key=lambda one: min(ranks[c] for c in one & cut))
        for group in victims:
            group[:] = [choice for choice in group if choice not in spared]


def _choices(coupling: Coupling, atom: int) -> frozenset[int]:
    return frozenset(coupling.state.atoms.choices(atom))


def _share(ratio: float, count: int) -> int:
    """``ratio * count`` rounded down, but 0.29 of 100 is 29, although 0.29 * 100 is less in binary."""
    return math.floor(ratio * count + 1e-9)


def _rounded(width: int, count: int, multiple: int, nearest: bool, least: int) -> int:
    """How many of ``width`` channels to cut so that a multiple stays: at most ``count``, or about as many.

    Args:
        least: channels that have to stay.
    """
    kept = width - count
    multiples = (kept + multiple // 2) // multiple if nearest else -(-kept // multiple)
    return max(width - max(multiples, -(-least // multiple)) * multiple, 0)
