"""What calibration knows of every channel: largest magnitude and mean, gathered in one pass over the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from edgekit.graph import Graph
from edgekit.quant import items
from edgekit.quant.items import Item
from edgekit.quant.watch import Sees, watch


class Channels:
    """Largest magnitude and mean of each channel of one tensor, over all items; an observer beside those of ranges.

    Args:
        axis: of the channels.
    """

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._peak: Tensor | None = None
        self._sum: Tensor | None = None
        self._count = 0

    def see(self, values: Tensor) -> bool:
        """Take the values of one calibration item; False if any is NaN or infinite."""
        rows = values.detach().movedim(self._axis, 0).flatten(1)
        if not rows.shape[1]:
            return True
        peak, total = rows.abs().amax(1).double(), rows.sum(1, dtype=torch.float64)
        self._peak = peak if self._peak is None else torch.maximum(self._peak, peak)
        self._sum = total if self._sum is None else self._sum + total
        self._count += rows.shape[1]
        return bool(torch.isfinite(peak).all())

    @property
    def peak(self) -> Tensor:
        """float64 [C]: the largest magnitude of each channel."""
        assert self._peak is not None, "no values were seen"
        return self._peak

    @property
    def mean(self) -> Tensor:
        """float64 [C]: the mean of each channel."""
        assert self._sum is not None, "no values were seen"
        return self._sum / self._count


@dataclass(frozen=True)
class Together:
    """Several that see the same values."""

    members: tuple[Sees, ...]

    def see(self, values: Tensor) -> bool:
        """Show the values to each; False if one of them finds any that is NaN or infinite."""
        return all(member.see(values) for member in self.members)


def together(*watched: Mapping[fx.Node, Sees]) -> dict[fx.Node, Sees]:
    """One watcher for each node, of all that watch it: so that one pass over the data serves them all."""
    nodes = dict.fromkeys(node for mapping in watched for node in mapping)
    return {node: Together(tuple(mapping[node] for mapping in watched if node in mapping)) for node in nodes}


def collect(graph: Graph, axes: Mapping[fx.Node, int], calibration: Iterable[Item]) -> dict[fx.Node, Channels]:
    """Run every item once and gather the channels of the nodes in ``axes``, which names the axis of each.

    Raises:
        CalibrationError: as :func:`edgekit.quant.quantize` does.
    """
    found = {node: Channels(axis) for node, axis in axes.items()}
    items.check_count(watch(graph, found, calibration), allow_few=True)
    return found
