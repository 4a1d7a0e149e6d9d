"""What quantisation cost, layer by layer: signal to noise of the golden's values against the float graph's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from edgekit.graph import Graph, cost, edit, patterns
from edgekit.ops import numerics

_HOPELESS_DB = -3000.0  # below what any finite float32 values give; JSON has no infinity


@dataclass(frozen=True)
class LayerError:
    """One integer operator: its error includes that of all layers before it.

    Attributes:
        name: node of the integer graph.
        operator: what it calls.
        source: file and line of the user's code.
        macs: multiply-accumulates for a batch of 1.
        sqnr_db: of float and dequantised integer values over all items; None where nothing differs.
    """

    name: str
    operator: str
    source: str
    macs: int
    sqnr_db: float | None

    def to_json(self) -> dict[str, Any]:
        """The error as plain JSON values."""
        return asdict(self)


def layer_errors(folded: Graph, quantised: Graph, integer: Graph, inputs: Sequence[Tensor]) -> tuple[LayerError, ...]:
    """Run the float and the integer graph on the same inputs and compare every layer.

    Args:
        folded: the float graph with batch norm folded, from which ``quantised`` was made.
        quantised: the fake-quantised graph; it names the pairs of nodes and the scales.
        integer: its lowered form.
        inputs: one tensor for each input.
    """
    expected, got = _values(folded, inputs), _values(integer, inputs)
    nodes = {node.name: node for node in integer.nodes}
    errors = []
    for cell in patterns.cells(quantised):
        if not cell.is_border:
            scale = edit.get_tensor(quantised.module, cell.scale)
            node = nodes[cell.body.name]
            noise = sqnr_db(expected[cell.real.name], numerics.dequantize(got[node.name], scale))
            operator = edit.operator_name(node).partition(".")[2]
            errors.append(LayerError(node.name, operator, edit.short_source(node), cost.macs(integer, node), noise))
    return tuple(errors)


def sqnr_db(reference: Any, other: Any) -> float | None:
    """Signal to quantisation noise, ``10 log10(sum r^2 / sum (r - o)^2)``, in dB; None where nothing differs.

    Values that are NaN or infinite in one and not in the other give -3000.
    """
    signal, got = np.asarray(reference, np.float64), np.asarray(other, np.float64)
    if np.array_equal(signal, got, equal_nan=True):
        return None
    power, noise = float(np.square(signal).sum()), float(np.square(signal - got).sum())
    if not math.isfinite(noise):
        return _HOPELESS_DB
    return 10 * math.log10(max(power, np.finfo(np.float64).tiny) / max(noise, np.finfo(np.float64).tiny))


def _values(graph: Graph, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    recorder = _Recorder(graph.module)
    with torch.no_grad():
        recorder.run(*inputs)
    return recorder.values


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.values: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node and keep its value."""
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.values[n.name] = value
        return value
