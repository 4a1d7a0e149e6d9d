"""``edgekit.diagnose``: what each layer of a quantised net lost, why, and what helps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, fx

from edgekit.debug.causes import Cause, Context, causes
from edgekit.debug.difference import as_arrays
from edgekit.debug.layers import Layer, layers_of
from edgekit.debug.tables import decibels, table
from edgekit.debug.values import real, record
from edgekit.debug.why import carriers
from edgekit.errors import UsageError
from edgekit.fuse import lower
from edgekit.graph import Graph, cost, edit, kinds, notes
from edgekit.quant.insert import strip
from edgekit.runtime import GraphRunner

_DECIBELS = ("int8 dB", "fake dB", "between", "own dB")
_HEADER = ("layer", "operator", *_DECIBELS, "cause")
_LEGEND = "int8 and fake against float, between the two, and what each layer adds itself"
_WORST = 3


@dataclass(frozen=True)
class LayerError:
    """One quantised value. Each error is signal to noise over all items in dB, None where nothing differs.

    Attributes:
        name: by which the value is known.
        operator: of the integer graph.
        source: file and line of the user's code.
        macs: multiply-accumulates for a batch of 1.
        sqnr_db: of the integer values against the float ones; with the errors of all layers before it.
        fake_db: of the fake-quantised values against the float ones.
        arithmetic_db: of the integer values against the fake-quantised ones.
        own_db: of what this layer adds itself: in its parameters, by rounding and by saturation.
        cause, detail, remedy: what is behind it; see :class:`edgekit.debug.causes.Cause`.
    """

    name: str
    operator: str
    source: str
    macs: int
    sqnr_db: float | None
    fake_db: float | None
    arithmetic_db: float | None
    own_db: float | None
    cause: str
    detail: str
    remedy: str

    def to_json(self) -> dict[str, Any]:
        """The error as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Diagnosis:
    """All quantised values of a net in the order in which they are computed, over some items."""

    layers: tuple[LayerError, ...]
    items: int

    def __getitem__(self, name: str) -> LayerError:
        """The layer of this name.

        Raises:
            UsageError: there is none.
        """
        found = [layer for layer in self.layers if layer.name == name]
        if not found:
            raise UsageError(f"the net has no quantised value {name!r}.", fix="Print the diagnosis to see them all.")
        return found[0]

    def worst(self, count: int = _WORST) -> tuple[LayerError, ...]:
        """Where to begin: the layers with a cause of their own that add most, relative to their signal."""
        guilty = [layer for layer in self.layers if layer.cause not in ("", "inherited", "dead")]
        return tuple(sorted(guilty, key=_badness)[:count])

    def to_json(self) -> dict[str, Any]:
        """The diagnosis as plain JSON values."""
        return {"items": self.items, "layers": [layer.to_json() for layer in self.layers]}

    def __str__(self) -> str:
        lines = table(_HEADER, list(map(_row, self.layers)), right=_DECIBELS)
        lines.append(f"{len(self.layers)} values on {self.items} items; {_LEGEND}")
        lines += [
            f"{bad.name} ({bad.source or bad.operator}): {bad.detail}. Remedy: {bad.remedy}." for bad in self.worst()
        ]
        return "\n".join(lines)


def diagnose(quantised: Graph, inputs: Iterable[Any], reference: Graph | None = None) -> Diagnosis:
    """Compare float, fake-quantised and integer values of every layer on real inputs, and say what is behind.

    Args:
        quantised: from :func:`edgekit.quantize`.
        inputs: items as :func:`edgekit.quantize` takes them, best such as were not calibrated on.
        reference: the ``reference`` of the result of :func:`edgekit.quantize`; by default the quantised graph without
            its rounding, which differs where biases were corrected.

    Raises:
        UsageError: for a graph that is not quantised, for no items, and for a reference of another net.
        DataError: for an item that does not fit; names the input.
        OperatorError, NumericsError: as :func:`edgekit.lower`.
    """
    integer = lower(quantised).eval()
    quantised = quantised.copy().eval()
    floats = strip(quantised) if reference is None else reference.copy().eval()
    layers = layers_of(quantised, floats)
    golden = {notes.value_name(node): node for node in integer.nodes if notes.scale(node) is not None}
    runner, items = GraphRunner(quantised), 0
    for item in inputs:
        arrays = as_arrays(runner, item)
        runner.check(*arrays)
        tensors = [torch.from_numpy(array) for array in arrays]
        _see(layers, tensors, quantised, floats, integer, golden)
        items += len(arrays[0]) if arrays and arrays[0].ndim else 1
    if not items:
        raise UsageError("there are no items to look at.", fix="Give real inputs.")
    shared = defaultdict[object, list[str]](list)
    for layer in layers:
        shared[layer.cell.scale.target].append(layer.name)
    found, carried = causes(layers, Context(quantised, shared)), carriers(integer)
    return Diagnosis(tuple(_told(quantised, layer, carried, found[layer.name]) for layer in layers), items)


def _see(
    layers: list[Layer],
    inputs: list[Tensor],
    quantised: Graph,
    floats: Graph,
    integer: Graph,
    golden: dict[str, fx.Node],
) -> None:
    """Run the three graphs on one item and show every layer its values."""
    found: list[dict[fx.Node, Any]] = [{}, {}, {}]
    for graph, values in zip((floats, quantised, integer), found, strict=True):
        record(graph, inputs, values, set(golden.values()) if graph is integer else None)
    one, other = ({node.name: value for node, value in values.items()} for values in found[:2])
    with torch.no_grad():
        for layer in layers:
            node = golden.get(layer.name)
            layer.see(one, other, None if node is None else real(node, found[2][node]))


def _told(quantised: Graph, layer: Layer, carried: Mapping[str, str], why: Cause) -> LayerError:
    seen, body = layer.seen, layer.cell.body
    return LayerError(
        layer.name,
        carried.get(layer.name, "").partition(".")[2],
        edit.short_source(body),
        cost.macs(quantised, kinds.call_of(body)) if body.op == "call_function" else 0,
        seen.integer.db,
        seen.fake.db,
        seen.arithmetic.db,
        seen.own_db,
        why.name,
        why.detail,
        why.remedy,
    )


def _badness(layer: LayerError) -> float:
    return float("inf") if layer.own_db is None else layer.own_db


def _row(row: LayerError) -> tuple[str, ...]:
    values = (row.sqnr_db, row.fake_db, row.arithmetic_db, row.own_db)
    why = f"{row.cause}: {row.detail}" if row.cause else ""
    return row.name, row.operator, *map(decibels, values), why
