"""One pass over calibration data: every item runs through the float graph, and observers are shown what they watch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, fx

from edgekit.errors import CalibrationError
from edgekit.graph import Graph, edit
from edgekit.quant import items
from edgekit.quant.items import Item


class Sees(Protocol):
    """Whatever is shown the values of a node."""

    def see(self, values: Tensor) -> bool:
        """Take the values of one calibration item; False if any is NaN or infinite."""


def watch(graph: Graph, observers: Mapping[fx.Node, Sees], calibration: Iterable[Item]) -> int:
    """Run every item once, showing each observed value to its observer; returns the number of samples.

    A value is dropped once its last reader has run.

    Raises:
        CalibrationError: for an item that does not fit the graph, and for NaN or infinite values, in it or in what the
            graph makes of it; names the sample.
    """
    interpreter = _Watching(graph.module, observers)
    samples = 0
    with torch.no_grad():
        for item in calibration:
            inputs, count = items.checked(graph, item, samples)
            interpreter.samples = range(samples, samples + count)
            interpreter.run(*inputs)
            samples += count
    return samples


class _Watching(fx.Interpreter):
    samples = range(0)

    def __init__(self, module: fx.GraphModule, observers: Mapping[fx.Node, Sees]) -> None:
        super().__init__(module)
        self._observers = observers

    def run_node(self, n: fx.Node) -> Any:
        """Run one node and show its value to the node's observer."""
        value = super().run_node(n)
        if n in self._observers and not self._observers[n].see(value):
            raise CalibrationError(
                f"{edit.describe(n)} gives NaN or infinite values on calibration sample {self._first_bad(value)}.",
                "A scale cannot be taken from them.",
                "Look at that sample, and at the weights of this layer and the ones before it.",
            )
        return value

    def _first_bad(self, value: Tensor) -> int:
        """The sample, or the first of an item's where the value's first dimension is not that of samples."""
        if value.dim() and len(value) == len(self.samples):
            bad = ~torch.isfinite(value).flatten(1) if value.dim() > 1 else ~torch.isfinite(value)[:, None]
            return self.samples[int(bad.any(1).nonzero()[0])]
        return self.samples.start
