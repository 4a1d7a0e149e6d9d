"""SmoothQuant: outliers of single channels move from the activations into the weights that read them.

Xiao et al. 2023, arXiv:2211.10438. Behind layer norm and RMS norm the factors go into gain and offset, behind a layer
into its weight and bias.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, fx

from edgekit.graph import Graph, edit
from edgekit.quant import seams
from edgekit.quant.seams import Decision, Seam

ALPHA = 0.5
_RANGE = 1024.0  # of factors; a channel further off is as good as dead


def stations(graph: Graph) -> dict[fx.Node, int]:
    """The nodes whose channels :func:`smooth` and the clamps of equalisation ask for, and the axis of each."""
    found = [seams.find(graph, node) for node in seams.sources(graph, *seams.NORMS, *seams.LAYERS)]
    asked: dict[fx.Node, int] = {}
    for seam in found:
        if isinstance(seam, Seam):
            asked |= {node: seam.places[node].axis for node in (*seam.read, *seam.ceilings)}
    return asked


def smooth(graph: Graph, peaks: Mapping[str, Tensor], alpha: float = ALPHA) -> tuple[Graph, tuple[Decision, ...]]:
    """Return a copy with smoothed activations, and what became of every norm and layer.

    A channel's factor is ``max|x|^alpha / max|w|^(1 - alpha)``, all of them scaled so that the range of the activation
    stays what it is. A depthwise reader has a weight scale for each channel, so all of the spread goes there, as if
    alpha were 1. Outputs stay as they are to rounding, and behind a clamp wherever an input stays within the peaks.

    Args:
        graph: in float, batch norm folded.
        peaks: largest magnitude of each channel, by name of every node in :func:`stations`.
        alpha: how much of the spread the weights take, from 0 to 1.
    """
    graph = graph.copy()
    found = list(seams.sources(graph, *seams.NORMS, *seams.LAYERS))
    # The last first: a layer's rows are settled before its columns are compared with what it reads.
    decisions = [_smooth(graph, source, peaks, alpha) for source in reversed(found)]
    return graph.refresh(), tuple(reversed(decisions))


def _smooth(graph: Graph, source: fx.Node, peaks: Mapping[str, Tensor], alpha: float) -> Decision:
    seam = seams.find(graph, source)
    if isinstance(seam, str):
        return Decision(source.name, reason=seam)
    factors = _factors(graph, seam, peaks, alpha)
    seams.rescale(graph, seam, factors)
    readers = tuple(layer.name for layer in seam.readers)
    return Decision(source.name, readers, float(factors.max() / factors.min()))


def _factors(graph: Graph, seam: Seam, peaks: Mapping[str, Tensor], alpha: float) -> Tensor:
    read = torch.stack([_by_channel(peaks[node.name], place.repeats) for node, place in seam.read.items()]).amax(0)
    weights = torch.stack([_columns(graph, seam, layer) for layer in seam.readers]).amax(0)
    if all(seams.magnitudes(graph, layer).shape[2] == 1 for layer in seam.readers):
        alpha = 1.0
    live = (read > 0) & (weights > 0)
    wanted = torch.where(live, read**alpha / weights.clamp(min=torch.finfo(torch.float32).tiny) ** (1 - alpha), 1.0)
    if bool(live.any()):
        wanted = wanted * (read[live] / wanted[live]).max() / read.max()
    factors = torch.where(live, wanted.clamp(1 / _RANGE, _RANGE), 1.0)
    for clamp, bound in seam.ceilings.items():
        peak = peaks[clamp.name]
        factors = torch.where(peak >= bound, 1.0, torch.maximum(factors, peak / bound))
    return factors


def _columns(graph: Graph, seam: Seam, layer: fx.Node) -> Tensor:
    """Largest magnitude of the weights that read each channel."""
    repeats = seam.places[edit.input_node(layer)].repeats
    return _by_channel(seams.magnitudes(graph, layer).amax(1).flatten(), repeats)


def _by_channel(values: Tensor, repeats: int) -> Tensor:
    return values.reshape(-1, repeats).amax(1)
