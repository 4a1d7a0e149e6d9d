"""Post-training quantisation: fold batch norm, decide where to quantise, watch calibration data, store the scales."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from edgekit.errors import CalibrationError
from edgekit.graph import Graph, capture, cost, edit, kinds
from edgekit.graph.canonical import fold_batch_norm
from edgekit.graph.constants import fold_constants
from edgekit.graph.explicit import write_out_attention
from edgekit.graph.recurrence import write_out_recurrence
from edgekit.graph.steps import in_steps
from edgekit.options import QuantConfig
from edgekit.quant import channels, correct, items, observe, preset, recurrent
from edgekit.quant.additions import make_exact
from edgekit.quant.insert import insert
from edgekit.quant.items import Item
from edgekit.quant.plan import Plan, plan
from edgekit.quant.preset import Balance
from edgekit.quant.reciprocals import make_whole

__all__ = ["QuantReport", "QuantResult", "check", "prepare", "quantize"]


@dataclass(frozen=True)
class QuantReport:
    """What calibration saw, and what stays in float.

    Attributes:
        samples: how many calibrated.
        scales: of every quantised tensor, by the node that it is named after.
        dead: tensors that were zero throughout.
        balance: which stages of a preset had a part, and what each did.
        kept_float: operators that stay in float, and why.
        int8_macs: share of the multiply-accumulates whose layer is quantised; None for a net without any.
    """

    samples: int
    scales: dict[str, float]
    dead: tuple[str, ...]
    balance: Balance | None = None
    kept_float: dict[str, str] = field(default_factory=dict)
    int8_macs: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        balance = {} if self.balance is None else {"balance": self.balance.to_json()}
        placed = {"kept_float": self.kept_float, "int8_macs": self.int8_macs}
        return {"samples": self.samples, "scales": self.scales, "dead": list(self.dead)} | placed | balance


@dataclass(frozen=True)
class QuantResult:
    """A graph with fake_quantize wherever int8 values will be, and the report on it.

    ``reference`` is the float graph that it stands for, node by node: batch norm folded, attention written out,
    channels rescaled.
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

    An operator without an integer form stays in float; the report says which and why, and a warning where it has
    products.

    Args:
        graph: a float Graph, or a module together with ``example_inputs``.
        calibration: items of real inputs, each a tensor, a tuple or a dict by input name; the first dimension of each
            tensor is the batch.
        config: observer, per-channel weights, preset, what stays in float, and whether fewer than 32 samples may do.
            A preset that rescales channels runs the items once more, and keeps them all while it does.

    Raises:
        CalibrationError: for NaN, infinite values, a wrong shape or type, or fewer than 32 samples; names the sample.
        OperatorError: under ``strict``, for an operator without an integer form; names it and its source line.
        NumericsError: for a layer whose sums int32 does not hold; names it and its source line.
    """
    config = config or QuantConfig()
    prepared = prepare(graph if isinstance(graph, Graph) else capture(graph, example_inputs))
    choice = preset.choose(prepared, config)
    config = preset.configured(config, choice)
    calibration = list(calibration) if choice.needs_peaks else calibration
    prepared, rescaled = preset.rescale(prepared, choice, calibration, config.smooth_alpha)
    placed = plan(prepared, config.keep_float, config.strict)
    recurrent.expose(placed)
    observers = {named: observe.make(config) for named in dict.fromkeys(placed.observed.values())}
    ranges = {node: observers[named] for node, named in placed.observed.items()}
    inputs = preset.watchers(prepared, choice)
    samples = _watch(prepared, channels.together(ranges, inputs), calibration)
    items.check_count(samples, config.allow_few)
    found = {named: observe.scale(observer) for named, observer in observers.items()}
    recurrent.conceal(prepared, placed)
    scales = make_exact(placed, recurrent.within_reach(placed, make_whole(placed, found)))
    means, reference, share = correct.means(inputs), prepared.copy(), _int8_share(prepared, placed)
    insert(prepared, placed, scales, config.per_channel)
    quantised, corrected = preset.correct_biases(prepared, choice, means)
    report = QuantReport(
        samples,
        {node.name: float(scale) for node, scale in scales.items()},
        tuple(node.name for node, observer in observers.items() if observe.is_dead(observer)),
        Balance(choice, rescaled, corrected) if choice.any else None,
        {node.name: reason for node, reason in placed.kept.items()},
        share,
    )
    return QuantResult(quantised, report, reference)


def prepare(graph: Graph) -> Graph:
    """A copy with batch norm folded, attention and recurrent layers written out, and what depends on no input stored.

    It is the float graph that the quantised one stands for.
    """
    written = write_out_recurrence(write_out_attention(in_steps(_without_constants(fold_batch_norm(graph)))))
    return _without_constants(written)  # masks taken apart are constants again


def _without_constants(graph: Graph) -> Graph:
    return graph.refresh() if fold_constants(graph, learned=True) else graph


def check(graph: Graph, config: QuantConfig | None = None) -> None:
    """Refuse a graph that :func:`quantize` would refuse, before any data is at hand.

    Raises:
        OperatorError: under ``strict``, for an operator without an integer form; names it and its source line.
    """
    config = config or QuantConfig()
    plan(prepare(graph), config.keep_float, config.strict)


def _int8_share(graph: Graph, placed: Plan) -> float | None:
    """Also warns of layers in float that nobody asked for."""
    macs = {node: cost.macs(graph, node) for node in edit.calls(graph.module)}
    total = sum(macs.values())
    for node, reason in placed.kept.items():
        if macs[kinds.call_of(node)] and "asked" not in reason and "prepares" not in reason:
            warnings.warn(f"{edit.describe(node)} stays in float: {reason}.", RuntimeWarning, stacklevel=3)
    return (
        sum(macs.get(kinds.call_of(n), 0) for n in placed.scale_of if placed.is_integer(n)) / total if total else None
    )


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
