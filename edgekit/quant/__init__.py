"""Post-training quantisation: fold batch norm, decide where to quantise, watch calibration data, store the scales."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import fx, nn

from edgekit.errors import UsageError
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
from edgekit.quant.record import Record
from edgekit.quant.seams import Decision
from edgekit.quant.statistics import Statistics, fingerprint
from edgekit.quant.watch import watch

__all__ = ["QuantReport", "QuantResult", "Statistics", "check", "collect", "prepare", "quantize"]


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
    calibration: Iterable[Item] | Statistics,
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
            tensor is the batch. Or what :func:`collect` saw of them, here or elsewhere.
        config: observer, per-channel weights, preset, what stays in float, and whether fewer than 32 samples may do.
            A preset that rescales channels runs the items once more, and keeps them all while it does.

    Raises:
        CalibrationError: for NaN, infinite values, a wrong shape or type, or fewer than 32 samples; names the sample.
            For statistics of another model.
        OperatorError: under ``strict``, for an operator without an integer form; names it and its source line.
        NumericsError: for a layer whose sums int32 does not hold; names it and its source line.
    """
    config = config or QuantConfig()
    source = graph if isinstance(graph, Graph) else capture(graph, example_inputs)
    prepared = prepare(source)
    choice = preset.choose(prepared, config)
    config = preset.configured(config, choice)
    rescaled: tuple[Decision, ...] = ()
    if isinstance(calibration, Statistics):
        _refuse_channels(choice)
    elif choice.needs_peaks:
        calibration = list(calibration)
        prepared, rescaled = preset.rescale(prepared, choice, calibration, config.smooth_alpha)
    placed = plan(prepared, config.keep_float, config.strict)
    recurrent.expose(placed)
    observers = {named: observe.make(config) for named in dict.fromkeys(placed.observed.values())}
    inputs = preset.watchers(prepared, choice)
    if isinstance(calibration, Statistics):
        samples = _recall(calibration, observers, fingerprint(source, placed.observed))
    else:
        ranges = {node: observers[named] for node, named in placed.observed.items()}
        samples = watch(prepared, channels.together(ranges, inputs), calibration)
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


def collect(
    graph: Graph | nn.Module,
    calibration: Iterable[Item],
    config: QuantConfig | None = None,
    *,
    example_inputs: Any = None,
) -> Statistics:
    """Gather what :func:`quantize` wants to know of calibration data, for any observer, where the data is.

    Args:
        graph, calibration, example_inputs: as for :func:`quantize`.
        config: what stays in float; the rest is left to :func:`quantize`, also how few samples may do.

    Raises:
        CalibrationError, OperatorError, NumericsError: as :func:`quantize`.
        UsageError: for a preset that looks at single channels.
    """
    config = config or QuantConfig()
    source = graph if isinstance(graph, Graph) else capture(graph, example_inputs)
    prepared = prepare(source)
    _refuse_channels(preset.choose(prepared, config))
    placed = plan(prepared, config.keep_float, config.strict)
    recurrent.expose(placed)
    records = {named: Record() for named in dict.fromkeys(placed.observed.values())}
    samples = watch(prepared, {node: records[named] for node, named in placed.observed.items()}, calibration)
    items.check_count(samples, allow_few=True)
    named = {node.name: record for node, record in records.items()}
    return Statistics(fingerprint(source, placed.observed), samples, named)


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


def _refuse_channels(choice: preset.Choice) -> None:
    if choice.needs_peaks or choice.bias_correction:
        raise UsageError(
            "statistics hold what calibration saw of whole tensors, not of single channels.",
            "Equalising, smoothing and correcting biases look at channels.",
            "Give the data itself, or choose preset plain.",
        )


def _recall(statistics: Statistics, observers: Mapping[fx.Node, observe.Observer], model: str) -> int:
    """Give every observer its record; returns the number of samples."""
    records = statistics.of(model, (node.name for node in observers))
    for node, observer in observers.items():
        observer.record = records[node.name]
    return statistics.samples
