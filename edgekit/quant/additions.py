"""Scales of summands, moved by a hair so that additions are exact in every kernel.

A sum is rounded once, but ONNX Runtime rounds partial sums of the unsigned bytes before: with scales as calibration
gives them, one addition in five has a pair of bytes that comes out one step off. Where both ratios ``s / sy`` are
multiples of a small power of two, nothing is rounded on the way, and every order and form of the sum gives the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, fx

from edgekit.graph import kinds
from edgekit.ops import numerics
from edgekit.quant import recurrent
from edgekit.quant.plan import Plan

_FEWEST = 256  # steps; a smaller ratio would have to move too far
Scales = dict[fx.Node, Tensor]


def make_exact(placed: Plan, scales: Scales) -> Scales:
    """The scales with those of summands moved, by less than 1/50 and mostly less than 1/1000.

    Additions are taken from the last to the first, so that the scale of a sum is settled before those of its summands.
    A tensor that two additions read follows the later one; a summand that is next to nothing keeps its scale.
    """
    scales, settled = dict(scales), set[fx.Node]()
    for node in reversed(placed.scale_of):
        for summands, total in _additions(placed, node):
            settle(summands, scales[total], scales, settled)
    return scales


def _additions(placed: Plan, node: fx.Node) -> list[tuple[list[fx.Node], fx.Node]]:
    """After whom the scales of summands and sums are named, of the additions in a node, the last one first."""
    if node in placed.inside:
        return recurrent.additions(placed, node)
    if kinds.kind_of(node) is kinds.JOIN and placed.is_integer(node):
        return [([placed.scale_of[source] for source in kinds.operands(node)], placed.scale_of[node])]
    return []


def settle(sources: list[fx.Node], output: Tensor, scales: Scales, settled: set[fx.Node]) -> None:
    """Move the scales of one addition's summands, but those in ``settled``, which grows; ``output`` is the sum's."""
    ratios = [float(scales[source] / output) for source in sources]
    step = numerics.exact_step(*ratios)
    for source, ratio in zip(sources, ratios, strict=True):
        if source not in settled and ratio >= _FEWEST * step:
            scales[source] = next(_candidates(ratio, step, output), scales[source])
            settled.add(source)


def _candidates(ratio: float, step: float, output: Tensor) -> Iterator[Tensor]:
    """Scales whose quotient by ``output`` in float32 is a multiple of ``step``, the nearest first."""
    nearest = round(ratio / step)
    for distance in range(nearest // 64 + 1):
        for multiple in (nearest + distance, nearest - distance):
            wanted = torch.tensor(multiple * step, dtype=torch.float32)
            scale = output * wanted
            if bool(scale / output == wanted):
                yield scale
