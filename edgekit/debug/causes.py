"""From what was measured of a layer to one sentence on the cause of its error and one on the remedy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from edgekit.debug.layers import Layer
from edgekit.debug.tables import decibels, listed
from edgekit.graph import Graph, edit, kinds, patterns
from edgekit.ops import numerics

GOOD_DB = 30.0  # above, eight bits do what they can
_SPREAD = 8.0  # a channel this many times as wide as the median one leaves the others three bits less
_RARE = 16.0  # a largest value this many times the root mean square: eight bits are spent on what hardly happens
_AMPLIFIED_DB = 6.0  # so much less behind a layer than in front of it: the error was in channels of little power
_UNUSED = 4.0  # of a range this many times too wide, two bits are never used


@dataclass(frozen=True)
class Cause:
    """Why a layer lost what it lost.

    Attributes:
        name: ``dead``, ``vanished``, ``inherited``, ``saturated``, ``unused range``, ``outlier channel``,
            ``rare values``, ``outlier weight``, ``weights``, ``inside``, ``rounding`` or ``arithmetic``; empty for a
            layer that is fine.
        detail: what was measured.
        remedy: what to do about it; empty where nothing is wrong with the layer itself.
    """

    name: str = ""
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Context:
    """What the cause of one layer's error depends on beyond the layer.

    Attributes:
        graph: the quantised one.
        shared: of every scale, by its place, the values that have it.
    """

    graph: Graph
    shared: Mapping[object, Sequence[str]]

    def scale(self, layer: Layer) -> float:
        """The real value of one step of a layer's result."""
        return float(edit.get_tensor(self.graph.module, layer.cell.scale))


def causes(layers: Sequence[Layer], context: Context) -> dict[str, Cause]:
    """The cause of every layer's error, by its name.

    The error of a coarse channel hides in that of its tensor, where a wide one has the power. It shows behind a layer
    that weighs the coarse one more: such a layer has inherited more than its input seemed to have, and the cause is
    written down where it arose.
    """
    by_end = {layer.cell.end.name: layer for layer in layers}
    found = {layer.name: cause(layer, by_end, context) for layer in layers}
    for layer in layers:
        source = _noisiest(layer, by_end)
        if found[layer.name].name == "inherited" and source is not None and _is_amplified(layer, source):
            while source.moves and (before := _noisiest(source, by_end)) is not None:
                source = before
            hidden = _rounded(source, context)
            if not found[source.name].name and hidden.name != "rounding":
                detail = f"{hidden.detail}; {layer.name} makes {decibels(layer.seen.inherited.db)} dB of that"
                found[source.name] = Cause(hidden.name, detail, hidden.remedy)
    return found


def cause(layer: Layer, by_end: Mapping[str, Layer], context: Context) -> Cause:
    """The largest source of one layer's error; nothing for a layer of :data:`GOOD_DB` or more.

    Args:
        layer: which one.
        by_end: all layers, by the name of the fake_quantize behind each.
        context: of the net.
    """
    seen = layer.seen
    if not seen.fake.signal:
        remedy = "prune it, or look at its training: nothing gets through it"
        return Cause("dead", "its float values are 0 on every item", remedy)
    if not seen.is_alive:
        return _vanished(layer, context)
    if _worse(seen.arithmetic.db, seen.fake.db):
        detail = f"the integer operator is {decibels(seen.arithmetic.db)} dB from the fake-quantised one"
        return Cause("arithmetic", detail, "please report this model")
    if _good(seen.fake.db):
        return Cause()
    sources: list[tuple[float, Callable[[], Cause]]] = [
        (seen.inherited.noise, lambda: _inherited(layer, by_end)),
        (seen.cut.noise, lambda: _saturated(layer, context)),
        (seen.rounded.noise, lambda: _rounded(layer, context)),
        (seen.parameters.noise, lambda: _parameters(layer, context)),
    ]
    return max(sources, key=lambda source: source[0])[1]()


def _good(db: float | None) -> bool:
    return db is None or db >= GOOD_DB


def _worse(arithmetic: float | None, fake: float | None) -> bool:
    """Whether integers and fake quantisation differ by more than quantisation cost, and by much."""
    return not _good(arithmetic) and (fake is None or (arithmetic or 0.0) < fake)


def _keep(*layers: fx.Node) -> str:
    names = dict.fromkeys(kinds.call_of(node).name for node in layers)
    return f"keep_float=({', '.join(map(repr, names))},)"


def _keep_value(layer: Layer) -> str:
    """A value is in float where neither what makes it nor what reads it is computed on integers."""
    made = [] if layer.cell.is_border else [layer.cell.body]
    readers = [user for user in layer.cell.end.users if patterns.is_integer(kinds.value_of(user))]
    return _keep(*made, *map(kinds.value_of, readers))


def _noisiest(layer: Layer, by_end: Mapping[str, Layer]) -> Layer | None:
    """The layer whose result comes into this one with the largest error."""
    sources = [
        by_end[end.name] for n in kinds.operands(layer.cell.body) if (end := patterns.bytes_of(n)).name in by_end
    ]
    return min(sources, key=lambda source: _order(source.seen.fake.db), default=None)


def _is_amplified(layer: Layer, source: Layer) -> bool:
    return _order(source.seen.fake.db) - _order(layer.seen.inherited.db) > _AMPLIFIED_DB


def _inherited(layer: Layer, by_end: Mapping[str, Layer]) -> Cause:
    """Points at the operand that came with the largest error."""
    source = _noisiest(layer, by_end)
    if source is None:
        return Cause("inherited", "what it reads came with this error", "look at the layers in front of it")
    detail = f"{source.name}, which it reads, came with {decibels(source.seen.fake.db)} dB"
    if _is_amplified(layer, source):
        detail += f", of which {decibels(layer.seen.inherited.db)} are left: it weighs most what is coarsest there"
    return Cause("inherited", detail, f"look at {source.name}")


def _order(db: float | None) -> float:
    return float("inf") if db is None else db


def _saturated(layer: Layer, context: Context) -> Cause:
    seen, limit = layer.seen, context.scale(layer) * numerics.S8_MAX
    share = seen.outside / max(seen.count, 1)
    detail = f"{share:.2%} of its values lie beyond {limit:.3g}, the largest is {seen.peak:.3g}"
    return Cause(
        "saturated",
        detail,
        'calibrate on data like this, or with observer="minmax", which cuts nothing off',
    )


def _rounded(layer: Layer, context: Context) -> Cause:
    seen = layer.seen
    found = _unused(layer, context) or _channel(seen.channels, "values")
    if found is not None:
        remedy = found.remedy or f'preset="balanced" evens channels out where it can; else {_keep_value(layer)}'
        return Cause(found.name, found.detail, remedy)
    mean_square = (seen.fake.signal / max(seen.count, 1)) ** 0.5
    if seen.peak > _RARE * mean_square:
        detail = f"its largest value is {seen.peak / mean_square:.0f} times their root mean square"
        return Cause("rare values", detail, 'observer="percentile" or "entropy" cuts off what hardly happens')
    return Cause(
        "rounding", f"256 steps of {context.scale(layer):.3g} hold no more", f"{_keep_value(layer)}, if it matters"
    )


def _unused(layer: Layer, context: Context) -> Cause | None:
    limit, peak = context.scale(layer) * numerics.S8_MAX, layer.seen.peak
    if not peak or limit < _UNUSED * peak:
        return None
    others = _others(layer, context)
    detail = f"its largest value, {peak:.3g}, uses 1/{limit / peak:.0f} of the range"
    if others:
        remedy = f"keep {listed(others)} or the operator that joins them in float, or bring their ranges together"
        return Cause("unused range", f"{detail}, whose scale it shares with {listed(others)}", remedy)
    return Cause("unused range", f"{detail} that calibration saw", "calibrate on data like this")


def _others(layer: Layer, context: Context) -> list[str]:
    return [name for name in context.shared[layer.cell.scale.target] if name != layer.name]


def _vanished(layer: Layer, context: Context) -> Cause:
    found = _unused(layer, context)
    detail = f"its largest value, {layer.seen.peak:.3g}, is under half a step of {context.scale(layer):.3g}"
    return Cause("vanished", detail, found.remedy if found else _keep_value(layer))


def _channel(sums: Tensor | None, where: str) -> Cause | None:
    """A channel far wider than the others takes the steps from them; ``sums`` are of magnitudes."""
    if sums is None or int((sums > 0).sum()) < 2:
        return None
    wider = float(sums.max() / sums[sums > 0].median())
    if wider < _SPREAD:
        return None
    detail = f"channel {int(sums.argmax())} of its {where} is {wider:.0f} times as wide as the median one"
    return Cause("outlier channel", detail)


def _parameters(layer: Layer, context: Context) -> Cause:
    call = kinds.call_of(layer.cell.body)
    if kinds.kind_of(layer.cell.body) is not kinds.WEIGHTED:
        detail = f"its {edit.operator_name(call).partition('.')[2]} rounds inside, at every step of time"
        return Cause("inside", detail, f"{_keep(layer.cell.body)}, if it matters")
    fake = edit.arguments(call)["weight"]
    weight = edit.get_tensor(context.graph.module, edit.input_node(fake)).detach()
    scale = edit.get_tensor(context.graph.module, patterns.scale_node(fake))
    rows = weight.abs().movedim(patterns.output_channels(call), 0).flatten(1)
    peaks = rows.amax(1)
    if bool((scale == scale[0]).all()) and (found := _channel(rows.sum(1), "weight")):
        return Cause(found.name, found.detail, 'per_channel=True, or preset="balanced"')
    spread = peaks / rows.square().mean(1).sqrt().clamp_min(torch.finfo(torch.float32).tiny)
    worst = int(spread.argmax())
    if float(spread[worst]) >= _RARE:
        detail = f"a weight of channel {worst} is {float(spread[worst]):.0f} times their root mean square"
        return Cause("outlier weight", detail, 'preset="balanced", or train with weight decay')
    return Cause("weights", "its weights in 8 bits", f'preset="balanced"; else {_keep(layer.cell.body)}')
