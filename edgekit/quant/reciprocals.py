"""Scales of softmax results, moved by a hair to what ONNX Runtime computes with.

Its integer softmax multiplies by the whole part of ``1 / scale``. Where that is no whole number, one result in twenty
is a step off; where it is, none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, fx

from edgekit.graph import kinds
from edgekit.quant.plan import Plan


def make_whole(placed: Plan, scales: dict[fx.Node, Tensor]) -> dict[fx.Node, Tensor]:
    """The scales with those of softmax results grown, by less than 1/100, to one over a whole number."""
    named = {placed.scale_of[n] for n in placed.scale_of if kinds.kind_of(n) in (kinds.SOFTMAX, kinds.MASKED_SOFTMAX)}
    return {node: _whole(scale) if node in named else scale for node, scale in scales.items()}


def _whole(scale: Tensor) -> Tensor:
    return next(_candidates(scale), scale)


def _candidates(scale: Tensor) -> Iterator[Tensor]:
    most = math.floor(1 / float(scale))
    for whole in range(most, max(100, most - 8), -1):
        candidate = torch.tensor(1 / whole, dtype=torch.float32)
        if int(torch.floor(1 / candidate)) == whole:
            yield candidate
