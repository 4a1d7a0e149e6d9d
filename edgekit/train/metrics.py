"""Accuracy of anything that maps arrays to arrays: a Runner's ``run``, or a Graph through :func:`predict`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.data import Split
from edgekit.graph import Graph

Run = Callable[..., tuple[NDArray[Any], ...]]
BATCH = 256


def accuracy(run: Run, split: Split) -> float:
    """Share of items whose largest score, in the first output [N, classes], stands at their label; from 0 to 1."""
    right = 0
    for batch in split.batches(BATCH):
        right += int((run(*batch.inputs)[0].argmax(1) == batch.targets[0]).sum())
    return right / len(split)


def predict(graph: Graph) -> Run:
    """A Graph as a function of numpy arrays, in inference mode."""
    graph = graph.copy().eval()

    def run(*arrays: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        with torch.inference_mode():
            result = graph(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))
        return tuple(tensor.numpy() for tensor in ((result,) if isinstance(result, torch.Tensor) else result))

    return run
