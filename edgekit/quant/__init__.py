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
from edgekit.quant import channels, correct, items, observe, place, preset
from edgekit.quant.additions import make_exact
from edgekit.quant.items import Item
from edgekit.quant.preset import Balance

__all__ = ["QuantReport", "QuantResult", "check", "quantize"]


@dataclass(frozen=True)
class QuantReport:
    """What calibration saw: samples, the scale of every quantised tensor, and tensors that were zero throughout.

    ``balance`` says which stages of a preset had a part, and what each did.
    """

    samples: int
    scales: dict[str, float]
    dead: tuple[str, ...]
    balance: Balance | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        balance = {} if self.balance is None else {"balance": self.balance.to_json()}
        return {"samples": self.samples, "scales": self.scales, "dead": list(self.dead)} | balance


@dataclass(frozen=True)
class QuantResult:
    """A graph with fake_quantize wherever int8 values will be, and the report on it.

    ``reference`` is the float graph that it stands for, node by node: batch norm folded, channels rescaled.
    """

    graph: Graph
    report: QuantReport
    reference: Graph


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
        config: observer, percentile, per-channel weights, preset, and whether fewer than 32 samples may do. A preset
            that rescales channels runs the items once more, and keeps them all while it does.

    Raises:
        CalibrationError: for NaN, infinite values, a wrong shape or type, or fewer than 32 samples; names the sample.
        OperatorError: for an operator without an integer form; names it and its source line.
        NumericsError: for a layer whose sums int32 does not hold; names it and its source line.
    """
    config = config or QuantConfig()
    source = graph if isinstance(graph, Graph) else capture(graph, example_inputs)
    folded = fold_batch_norm(source)
    choice = preset.choose(folded, config)
    config = preset.configured(config, choice)
    calibration = list(calibration) if choice.needs_peaks else calibration
    folded, rescaled = preset.rescale(folded, choice, calibration, config.smooth_alpha)
    placed = place.plan(folded)
    observers = {node: observe.make(config) for node in placed.observed}
    inputs = preset.watchers(folded, choice)
    samples = _watch(folded, channels.together(observers, inputs), calibration)
    items.check_count(samples, config.allow_few)
    scales = make_exact(placed, {node: observe.scale(observer) for node, observer in observers.items()})
    dead = tuple(node.name for node, observer in observers.items() if observe.is_dead(observer))
    means, reference = correct.means(inputs), folded.copy()
    place.insert(folded, placed, scales, config.per_channel)
    quantised, corrected = preset.correct_biases(folded, choice, means)
    balance = Balance(choice, rescaled, corrected) if choice.any else None
    report = QuantReport(samples, {node.name: float(scale) for node, scale in scales.items()}, dead, balance)
    return QuantResult(quantised, report, reference)


def check(graph: Graph) -> None:
    """Refuse a graph that :func:`quantize` would refuse, before any data is at hand.

    Raises:
        OperatorError: for an operator without an integer form; names it and its source line.
    """
    place.plan(fold_batch_norm(graph))


def _watch(graph: Graph, observers: Mapping[fx.Node, channels.Sees], calibration: Iterable[Item]) -> int:
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
    def __init__(self, module: fx.GraphModule, observers: Mapping[fx.Node, channels.Sees]) -> None:
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
