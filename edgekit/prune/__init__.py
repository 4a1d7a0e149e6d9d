"""Structured pruning: whole channels go, and what is left computes the same as if they were left out of every sum.

:func:`prune` is also what ``edgekit.prune(...)`` calls.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import fx, nn

from edgekit.callable import make_callable
from edgekit.errors import UsageError
from edgekit.graph import Graph, capture
from edgekit.prune.goal import Goal
from edgekit.prune.groups import Group, couple
from edgekit.prune.measured import Batches, Loss
from edgekit.prune.multiples import multiple_for
from edgekit.prune.report import Cut, LayerChange, PruneReport, PruneResult, Width, report
from edgekit.prune.scores import scores
from edgekit.prune.select import BLOCKS, SCOPES, Ratio, Rule, gone
from edgekit.prune.surgery import cut

__all__ = ["Group", "LayerChange", "PruneReport", "PruneResult", "Width", "couple", "prune"]


def prune(
    graph: Graph | nn.Module,
    ratio: Ratio | None = None,
    *,
    target_macs: float | None = None,
    target_parameters: float | None = None,
    importance: str = "l2",
    reduce: str = "mean",
    normalise: str = "mean",
    scope: str = "local",
    blocks: str = "whole",
    round_to: int | str = 1,
    exclude: Sequence[str] = (),
    keep_residual: bool = False,
    steps: int = 1,
    recover: Callable[[Graph], Graph] | None = None,
    data: Batches | None = None,
    loss: Loss | None = None,
    seed: int = 0,
    example_inputs: Any = None,
) -> PruneResult:
    """Cut the least important channels out of a copy of ``graph``.

    How much goes is said by one of ``ratio``, ``target_macs`` and ``target_parameters``.

    Args:
        graph: a Graph, or a module together with ``example_inputs``.
        ratio: share of the channels to cut, in (0, 1); or by the name of a group, which is that of the first weight
            that produces its channels, globs allowed: groups without one stay whole.
        target_macs: share of the multiply-accumulates to keep, in (0, 1).
        target_parameters: share of the parameters to keep, in (0, 1).
        importance: how channels are scored, see :mod:`edgekit.prune.scores`. ``l2``, the norm of the weights, needs no
            data.
        reduce: what a channel's scores at several layers become: ``mean``, ``max`` or ``sum``.
        normalise: what each layer's scores are divided by: their ``mean``, ``max``, ``sum``, or ``none``.
        scope: ``local`` cuts this share of each group; ``global`` ranks the channels of all groups together,
            ``isomorphic`` those of groups that run through the same kinds of layers.
        blocks: where channels come in blocks, such as heads of attention or groups of a convolution: ``whole`` cuts
            blocks, ``within`` the same channels inside every block, ``both`` the share of each.
        round_to: widths stay multiples of this, where the group has that many channels; a name from ``targets.toml``,
            such as ``onnxruntime``, takes what its kernels want of each operator. A ratio rounds up to the next
            multiple, a target to the nearest.
        exclude: names of nodes (globs) whose output channels stay.
        keep_residual: keep whole what additions of two results join, such as the channels between residual blocks: then
            all goes inside the blocks. Of inverted residuals that takes as much from depthwise layers as from the
            others, which a cut of all widths does not.
        steps: cut in so many steps of about equal shares, scoring anew before each.
        recover: trains the graph between steps; after the last one it is the caller's turn.
        data: pairs of (inputs, targets) for scores that need them; inputs are a tensor, a tuple, or a dict by name.
        loss: a function of (output, targets), for scores that need it.
        seed: for ``random`` scores.
        example_inputs: for a module, as of :func:`edgekit.graph.capture.capture`.

    Raises:
        UsageError: for an argument out of range, a glob that names nothing, a target that no cut reaches, or a module
            without ``example_inputs``.
    """
    _check(ratio, (target_macs, target_parameters), scope, blocks, steps)
    goal = Goal(ratio, target_macs, target_parameters)
    source = _captured(graph, example_inputs)
    rule = Rule(scope, multiple_for(round_to), blocks)
    smaller, cuts = source.copy(), list[Cut]()
    for step in range(1, steps + 1):
        excluded = _excluded(smaller, [exclude] if isinstance(exclude, str) else exclude)
        coupling = couple(smaller, excluded, keep_residual=keep_residual)
        values = scores(smaller, coupling.groups, importance, data, loss, reduce=reduce, normalise=normalise, seed=seed)
        victims = goal.victims(coupling, values, rule, source, step / steps, (step - 1) / steps)
        cut(smaller, coupling, gone(victims))
        cuts.append((coupling, victims))
        if recover is not None and step < steps:
            smaller = recover(smaller)
    return PruneResult(smaller, report(source, smaller, cuts))


def _check(ratio: Ratio | None, targets: Sequence[float | None], scope: str, blocks: str, steps: int) -> None:
    given = [value for value in (ratio, *targets) if value is not None]
    if len(given) != 1:
        raise UsageError(
            f"{len(given)} of ratio, target_macs and target_parameters are given.", fix="Give one of them: ratio=0.5."
        )
    for value in given[0].values() if isinstance(given[0], Mapping) else given:
        if not isinstance(value, (int, float)) or not 0 < value < 1:
            name = "ratio" if ratio is not None else "the target"
            raise UsageError(f"{name} must be a number between 0 and 1, got {value!r}.")
    for word, known, name in ((scope, SCOPES, "scope"), (blocks, BLOCKS, "blocks")):
        if word not in known:
            raise UsageError(f"{name} {word!r} is not known.", fix=f"Use one of {', '.join(known)}.")
    if not isinstance(steps, int) or steps < 1:
        raise UsageError(f"steps must be a whole number of at least 1, got {steps!r}.")


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


make_callable(__name__, prune)
