"""How much is to go, in one step or in several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from edgekit.graph import Graph, cost
from edgekit.prune.groups import Coupling
from edgekit.prune.predict import Predicted
from edgekit.prune.select import Ratio, Rule, Victims, reach, select


@dataclass(frozen=True)
class Goal:
    """One of these is given.

    Attributes:
        ratio: share of the channels to cut.
        macs: share of the multiply-accumulates to keep.
        parameters: share of the parameters to keep.
    """

    ratio: Ratio | None
    macs: float | None
    parameters: float | None

    def victims(
        self, coupling: Coupling, values: Sequence[Tensor], rule: Rule, source: Graph, until: float, since: float
    ) -> Victims:
        """The channels to cut from the graph as it is.

        Args:
            coupling: of the graph as it is.
            values: scores of each group's channels.
            rule: how channels are chosen.
            source: the graph before the first step.
            until: how much of the way is to lie behind after this step, in (0, 1].
            since: how much lies behind already.
        """
        if self.macs is not None:
            most = _part_of(cost.total_macs(source), self.macs, until)
            return reach(coupling, values, rule, Predicted.macs, most)
        if self.parameters is not None:
            most = _part_of(cost.total_parameters(source), self.parameters, until)
            return reach(coupling, values, rule, Predicted.parameters, most)
        assert self.ratio is not None
        if isinstance(self.ratio, Mapping):
            step: Ratio = {name: _step(share, until, since) for name, share in self.ratio.items()}
        else:
            step = _step(self.ratio, until, since)
        return select(coupling, values, step, rule)


def _part_of(whole: int, kept: float, until: float) -> int:
    return int(whole * (1 - (1 - kept) * until))


def _step(ratio: float, until: float, since: float) -> float:
    """The share of what is left that takes the share of what there was from ``since`` to ``until`` of the way."""
    return ratio if since == 0 and until == 1 else 1 - (1 - ratio * until) / (1 - ratio * since)
