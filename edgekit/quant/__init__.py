"""Post-training quantisation: fold batch norm, decide where to quantise, watch calibration data, store the scales."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from edgekit.errors import CalibrationError
from edgekit.graph import Graph, capture, edit
from edgekit.graph.canonical import fold_batch_norm
from edgekit.options import QuantConfig
from edgekit.quant import items, observe, place
from edgekit.quant.additions import make_exact
from edgekit.quant.items import Item

__all__ = ["QuantReport", "QuantResult", "check", "quantize"]


@dataclass(frozen=True)
class QuantReport:
    """What calibration saw: samples, the scale of every quantised tensor, and tensors that were zero throughout."""

    samples: int
    scales: dict[str, float]
    dead: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {"samples": self.samples, "scales": self.scales, "dead": list(self.dead)}


@dataclass(frozen=True)
class QuantResult:
    """A graph with fake_quantize wherever int8 values will be, and the report on it."""

    graph: Graph
    report: QuantReport


def quantize(
    graph: Graph | nn.Module,
    calibration: Iterable[Item],
    config: QuantConfig | None = None,
    *,
    example_inputs: Any = None,
) -> QuantResult:
    """Quantise a copy of ``graph`` to symmetric INT8; its inputs and outputs stay float.

    Args:
        graph: a float Graph, or a module together with ``example_inputs``.
        calibration: items of real inputs, each a tensor, a tuple or a dict by input name; the first dimension of each
            tensor is the batch.
        config: observer, percentile, per-channel weights, and whether fewer than 32 samples may do.

    Raises:
        CalibrationError: for NaN, infinite values, a wrong shape or type, or fewer than 32 samples; names the sample.
        OperatorError: for an operator without an integer form; names it and its source line.
        NumericsError: for a layer whose sums int32 does not hold; names it and its source line.
    """
    config = config or QuantConfig()
    source = graph if isinstance(graph, Graph) else capture(graph, example_inputs)
    folded = fold_batch_norm(source)
    placed = place.plan(folded)
    observers = {node: observe.make(config) for node in placed.observed}
    samples = _watch(folded, observers, calibration)
    items.check_count(samples, config.allow_few)
    scales = make_exact(placed, {node: observe.scale(observer) for node, observer in observers.items()})
    dead = tuple(node.name for node, observer in observers.items() if observe.is_dead(observer))
    report = QuantReport(samples, {node.name: float(scale) for node, scale in scales.items()}, dead)
    place.insert(folded, placed, scales, config.per_channel)
    return QuantResult(folded, report)


def check(graph: Graph) -> None:
    """Refuse a graph that :func:`quantize` would refuse, before any data is at hand.

    Raises:
        OperatorError: for an operator without an integer form; names it and its source line.
    """
    place.plan(fold_batch_norm(graph))


def _watch(graph: Graph, observers: Mapping[fx.Node, observe.Observer], calibration: Iterable[Item]) -> int:
    """Run every item once, showing each observed value to its observer; returns the number of samples."""
    interpreter = _Watching(graph.module, observers)
    samples = 0
    with torch.no_grad():
        for item in calibration:
            inputs, count = items.checked(graph, item, samples)
            interpreter.run(*inputs)
            samples += count
    return samples


class _Watching(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, observers: Mapping[fx.Node, observe.Observer]) -> None:
        super().__init__(module)
        self._observers = observers

    def run_node(self, n: fx.Node) -> Any:
        """Run one node and show its value to the node's observer."""
        value = super().run_node(n)
        if n in self._observers:
            if not bool(torch.isfinite(value).all()):
                raise CalibrationError(
                    f"{edit.describe(n)} gives NaN or infinite values on the calibration data.",
                    "A scale cannot be taken from them.",
                    "Look at the weights of this layer and the ones before it.",
                )
            self._observers[n].see(value)
        return value
