"""What a graph would cost once channels are cut, without cutting them."""

from __future__ import annotations

import math

from torch import fx, nn

from edgekit.graph import cost, edit
from edgekit.prune.analysis import Analysis, Dim, Kept, count


class Predicted:
    """The shapes of a graph after a cut.

    Args:
        state: the analysis of the graph as it is.
        kept: which atoms stay.
    """

    def __init__(self, state: Analysis, kept: Kept) -> None:
        self._state, self._kept = state, kept

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """As :meth:`edgekit.graph.Graph.shape` would be."""
        shape, dims = self._state.graph.shape(node), self._state.dims.get(node, ())
        if len(shape) != len(dims):
            return shape
        return tuple(self._size(dim, size) for dim, size in zip(dims, shape, strict=True))

    def _size(self, dim: Dim, size: int) -> int:
        return size if dim is None else count(dim)(self._kept)

    def macs(self) -> int:
        """Multiply-accumulates of one run with a batch of 1."""
        return sum(cost.macs(self, node) for node in self._state.graph.nodes if node.op == "call_function")

    def parameters(self) -> int:
        """Number of parameters; shared ones count once."""
        total = 0
        for path, slots in self._state.stored.items():
            if isinstance(edit.get_attribute(self._state.graph.module, path), nn.Parameter):
                total += math.prod(self._size(slot, slot.size) for slot in slots)
        return total
