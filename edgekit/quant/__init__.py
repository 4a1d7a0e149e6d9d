"""Post-training quantisation: fold batch norm, decide where to quantise, watch calibration data, write the scales into the graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from edgekit.errors import CalibrationError
from edgekit.graph import Graph, capture
from edgekit.graph.canonical import fold_batch_norm
from edgekit.quant import observe, place
from edgekit.recipe import QuantConfig

__all__ = ["QuantReport", "QuantResult", "check", "quantize"]

MIN_SAMPLES = 32
Item = Any  # a tensor or array, a tuple of them, or a dict of them by input name


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
        calibration: items of real inputs, each a tensor, a tuple or a dict by input name, with the batch as first dimension.
        config: observer, percentile, per-channel weights, and whether fewer than 32 samples may do.

    Raises:
        CalibrationError: for NaN, infinite values, a wrong shape or type, or fewer than 32 samples; names the sample.
        OperatorError: for an operator without an integer form; names it and its source line.
    """
    config = config or QuantConfig()
    source = graph if isinstance(graph, Graph) else capture(graph, example_inputs)
    folded = fold_batch_norm(source)
    placed = place.plan(folded)
    observers = {node: observe.make(config) for node in placed.observed}
    samples = _watch(folded, observers, calibration)
    if samples < MIN_SAMPLES and not config.allow_few:
        raise CalibrationError(
            f"the calibration set has {samples} samples; at least {MIN_SAMPLES} are needed.",
            fix="Give more real samples, or set allow_few (--allow-few) if these are all there are.",
        )
    scales = {node: observe.scale(observer) for node, observer in observers.items()}
    dead = tuple(node.name for node, observer in observers.items() if observer.limit() == 0)
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
            inputs = _checked(graph, item, samples)
            interpreter.run(*inputs)
            samples += len(inputs[0])
    return samples


class _Watching(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, observers: Mapping[fx.Node, observe.Observer]) -> None:
        super().__init__(module)
        self._observers = observers

    def run_node(self, n: fx.Node) -> Any:
        """Run one node and show its value to the node's observer."""
        value = super().run_node(n)
        if n in self._observers:
            self._observers[n].see(value)
        return value


def _checked(graph: Graph, item: Item, first: int) -> Sequence[Tensor]:
    """The item as tensors in the order of the graph's inputs; ``first`` is the number of its first sample."""
    values = _ordered(graph, item, first)
    for info, value in zip(graph.inputs, values, strict=True):
        fixed = [d is None or d == size for d, size in zip(info.shape, value.shape, strict=False)]
        if value.dim() != len(info.shape) or not all(fixed) or value.dtype != info.dtype:
            shape = [("N" if d is None else d) for d in info.shape]
            raise CalibrationError(
                f"calibration sample {first}: input {info.name} is {value.dtype} {list(value.shape)}, the model takes {info.dtype} {shape}."
            )
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            row = int((~torch.isfinite(value.flatten(1))).any(1).nonzero()[0]) if value.dim() > 1 else 0
            raise CalibrationError(
                f"calibration sample {first + row}: input {info.name} holds NaN or an infinite value.",
                fix="Clean the data or drop the sample.",
            )
    return values


def _ordered(graph: Graph, item: Item, first: int) -> list[Tensor]:
    names = [info.name for info in graph.inputs]
    if isinstance(item, Mapping):
        if set(item) != set(names):
            raise CalibrationError(
                f"calibration sample {first}: got the inputs {sorted(item)}, the model takes {names}."
            )
        item = [item[name] for name in names]
    values = [item] if isinstance(item, (Tensor, np.ndarray)) else list(item)
    if len(values) != len(names):
        raise CalibrationError(
            f"calibration sample {first}: got {len(values)} inputs, the model takes {len(names)} ({', '.join(names)}).",
            fix="An item is exactly the inputs; leave labels out.",
        )
    return [torch.as_tensor(value) for value in values]
