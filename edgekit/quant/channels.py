"""What calibration knows of every channel: largest magnitude and mean, gathered in one pass over the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, fx

from edgekit.graph import Graph
from edgekit.quant import items
from edgekit.quant.items import Item


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

    def see(self, values: Tensor) -> None:
        """Take the finite values of one calibration item."""
        rows = values.detach().movedim(self._axis, 0).flatten(1)
        if rows.shape[1]:
            peak, total = rows.abs().amax(1).double(), rows.sum(1, dtype=torch.float64)
            self._peak = peak if self._peak is None else torch.maximum(self._peak, peak)
            self._sum = total if self._sum is None else self._sum + total
            self._count += rows.shape[1]

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


class Sees(Protocol):
    """Whatever is shown the values of a node."""

    def see(self, values: Tensor) -> None:
        """Take the values of one calibration item."""


@dataclass(frozen=True)
class Together:
    """Several that see the same values."""

    members: tuple[Sees, ...]

    def see(self, values: Tensor) -> None:
        """Show the values to each."""
        for member in self.members:
            member.see(values)


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
    interpreter, samples = _Seeing(graph.module, found), 0
    with torch.no_grad():
        for item in calibration:
            inputs, count = items.checked(graph, item, samples)
            interpreter.run(*inputs)
            samples += count
    items.check_count(samples, allow_few=True)
    return found


class _Seeing(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, watched: Mapping[fx.Node, Channels]) -> None:
        super().__init__(module)
        self._watched = watched

    def run_node(self, n: fx.Node) -> Any:
        """Run one node and show its value to whoever watches it."""
        value = super().run_node(n)
        if n in self._watched:
            self._watched[n].see(value)
        return value
