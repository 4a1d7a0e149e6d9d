"""A file run in float against its reference, operator by operator: each is given the bytes that the file itself made.

Sums in float32 and exact ones round a value beside a tie to neighbouring steps. One such step is nothing, but a deep
net may make much of it: random weights double the difference with every block. So a file whose outputs have come too
far from the reference is followed step by step, where nothing adds up: a wrong operator is then off in many values at
once, and a right one by one step in a few of a million.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from edgekit.export import tap
from edgekit.export.reference import Quantized, TensorRTReference
from edgekit.graph import Graph, edit, patterns

MOST_APART = 1e-4  # share of the values of one tensor: ties are far rarer, and what a wrong operator gives is not


@dataclass
class Steps:
    """The quantised values of a file against what the reference makes of the file's own bytes.

    Attributes:
        outputs: what the reference makes of the last of them.
        compared, apart: how many values there are, and how many differ.
        farthest: by how many steps at most.
    """

    outputs: Any = None
    compared: int = 0
    apart: int = 0
    farthest: int = 0
    _worst: float = field(default=0.0, repr=False)

    @property
    def are_ties(self) -> bool:
        """Whether each operator is right but for ties."""
        return self.compared > 0 and self.farthest <= 1 and self._worst <= MOST_APART

    def add(self, own: Tensor, theirs: Tensor) -> None:
        """Take one more tensor of whole steps."""
        difference = (own - theirs).abs()
        apart = int((difference > 0).sum())
        self.compared, self.apart = self.compared + own.numel(), self.apart + apart
        self.farthest = max(self.farthest, int(difference.max()) if own.numel() else 0)
        self._worst = max(self._worst, apart / max(own.numel(), 1 / MOST_APART))  # one of a small tensor may be a tie


def follow(
    path: Path, placed: Graph, inputs: Sequence[Tensor], arrays: Sequence[NDArray[Any]], zero_point: int = 0
) -> Steps:
    """Run the file for all of its quantised values, and the reference from those.

    Args:
        path: the file; it runs as it is written, without optimisation.
        placed: the graph with the pairs of the file's target.
        inputs, arrays: the same values, for the graph and for the file.
        zero_point: of the file's activations.
    """
    model = onnx.load(str(path))
    names = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    results = tap.tapped(model, names, optimise=False).run(*arrays)
    theirs = [torch.from_numpy(codes.astype(np.int16) - zero_point) for codes in results[len(model.graph.output) :]]
    steps = Steps()
    if len(theirs) == sum(node.target is patterns.FAKE_QUANTIZE for node in placed.nodes):
        with torch.no_grad():
            steps.outputs = _Following(placed, theirs, steps).run(*inputs)
    return steps


class _Following(TensorRTReference):
    def __init__(self, graph: Graph, theirs: list[Tensor], steps: Steps) -> None:
        super().__init__(graph)
        self._theirs, self._steps = iter(theirs), steps

    def run_node(self, n: fx.Node) -> Any:
        """One node; a quantiser hands on the file's bytes."""
        value = super().run_node(n)
        if n.target is not patterns.FAKE_QUANTIZE:
            return value
        bounds = edit.arguments(n)  # in a file they stand behind the quantiser
        theirs = next(self._theirs).double().clamp(bounds["lo"], bounds["hi"])
        if theirs.shape != value.q.shape:
            self._steps.farthest = 256  # the file's quantisers are others than the graph's
            return value
        self._steps.add(value.q, theirs)
        return Quantized(theirs, value.scale)
