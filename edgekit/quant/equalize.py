"""Cross-layer equalisation: channels of neighbouring layers get the same range of weights, without data.

Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction", section 4.1. With one scale
for a whole activation, a channel a hundred times weaker than the strongest is left with one or two steps; behind
equalised weights the channels of the activation come out alike. High biases are kept from growing rather than absorbed.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, fx

from edgekit.graph import Graph, edit
from edgekit.quant import seams
from edgekit.quant.seams import Decision, Seam

_LARGEST = 1024.0  # factor; a channel further off is as good as dead
_SWEEPS = 50
_SETTLED = 1.01


def equalize(graph: Graph, peaks: Mapping[str, Tensor] | None = None) -> tuple[Graph, tuple[Decision, ...]]:
    """Return a copy with equalised weights, and what became of every layer.

    Pairs are swept until nothing moves; where a depthwise convolution stands between two others, that gives all three
    the same range, the cube root of the product. Outputs stay as they are to rounding, and behind a clamp such as ReLU6
    wherever an input stays within the peaks.

    Args:
        graph: in float, batch norm folded.
        peaks: largest magnitude of each channel by name of a clamp. A clamp has one upper bound for all channels: those
            that reach it keep their scale, the others may grow up to it. Without peaks its layers are left alone.
    """
    graph = graph.copy()
    found = {node: seams.find(graph, node) for node in seams.sources(graph, *seams.LAYERS)}
    work = [_Work(graph, seam, peaks or {}) for seam in found.values() if isinstance(seam, Seam)]
    ready = [one for one in work if not one.reason]
    _sweep(graph, ready)
    for one in ready:
        seams.rescale(graph, one.seam, one.factors)
    decisions = {one.seam.source: one.decision() for one in work}
    refused = {node: Decision(node.name, reason=reason) for node, reason in found.items() if isinstance(reason, str)}
    return graph.refresh(), tuple({**decisions, **refused}[node] for node in found)


class _Work:
    """The factors of one seam while they are being found; they stay between ``lowest`` and a thousand."""

    def __init__(self, graph: Graph, seam: Seam, peaks: Mapping[str, Tensor]) -> None:
        self.seam = seam
        rows = edit.arguments(seam.source)["weight"].meta["val"].shape[0]
        self.factors = torch.ones(rows, dtype=torch.float64)
        self.lowest = torch.full_like(self.factors, 1 / _LARGEST)
        self.fixed = torch.zeros(rows, dtype=torch.bool)
        self.reason = ""
        self._keep_biases(graph)
        for clamp, bound in seam.ceilings.items():
            self._stay_under(clamp, bound, peaks.get(clamp.name))

    def _keep_biases(self, graph: Graph) -> None:
        """No bias grows beyond the largest: what it adds to a range is not seen in the weights."""
        node = edit.arguments(self.seam.source)["bias"]
        bias = edit.get_tensor(graph.module, node).detach().double().abs() if node is not None else torch.zeros(1)
        if bool(bias.max() > 0):
            self.lowest = torch.maximum(self.lowest, bias / bias.max())

    def _stay_under(self, clamp: fx.Node, bound: float, peak: Tensor | None) -> None:
        if peak is None:
            self.reason = f"{clamp.name} has one upper bound for all channels, and no peaks are known"
            return
        self.fixed |= peak >= bound
        self.lowest = torch.maximum(self.lowest, peak / bound)

    def step(self, written: Tensor, read: Tensor) -> Tensor:
        """How much the factors change so that both sides have one range, [C] each, as far as they may."""
        ratio = torch.where((written > 0) & (read > 0), (written / read).sqrt(), 1.0).nan_to_num(1.0, 1.0, 1.0)
        wanted = torch.minimum(torch.maximum(self.factors * ratio, self.lowest), torch.tensor(_LARGEST).double())
        change = torch.where(self.fixed, 1.0, wanted / self.factors)
        self.factors = self.factors * change
        return change

    def decision(self) -> Decision:
        readers = tuple(layer.name for layer in self.seam.readers)
        spread = float(self.factors.max() / self.factors.min())
        return Decision(self.seam.source.name, readers, spread, self.reason)


def _sweep(graph: Graph, work: list[_Work]) -> None:
    layers = {layer for one in work for layer in (one.seam.source, *one.seam.readers)}
    size = {layer: seams.magnitudes(graph, layer) for layer in layers}
    for _ in range(_SWEEPS):
        largest = max((_equalize(one, size) for one in work), default=1.0)
        if largest < _SETTLED:
            return


def _equalize(one: _Work, size: dict[fx.Node, Tensor]) -> float:
    """One step for one seam; returns the largest factor by which a channel moved."""
    source, places = one.seam.source, one.seam.places
    repeats = {layer: places[edit.input_node(layer)].repeats for layer in one.seam.readers}
    read = [size[layer].amax(1).reshape(-1, repeats[layer]).amax(1) for layer in one.seam.readers]
    change = one.step(size[source].amax(2).flatten(), torch.stack(read).amax(0))
    size[source] = size[source] / change.reshape(*size[source].shape[:2], 1)
    for layer in one.seam.readers:
        inputs = change.repeat_interleave(repeats[layer])
        size[layer] = size[layer] * inputs.reshape(size[layer].shape[0], 1, -1)
    return float(torch.maximum(change, 1 / change).max())
