"""The batches of an epoch, in random order; a process of several gets its share of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from edgekit.data import Split, augment
from edgekit.options import TrainConfig
from edgekit.train.distributed import Workers
from edgekit.train.objectives import Tensors


@dataclass(frozen=True)
class Batch:
    """Items of a step that this process works on; ``items`` counts those of all processes."""

    inputs: Tensors
    targets: Tensors
    items: int

    @property
    def weight(self) -> float:
        """The part of the step that falls to this process; 0 where it has none."""
        return len(self.inputs[0]) / self.items


def starts(items: int, size: int) -> range:
    """Where batches start; a last batch of one item is left out where others are larger: batch norm needs two."""
    alone = items > size and items % size == 1
    return range(0, items - alone, size)


def batches(split: Split, config: TrainConfig, rng: np.random.Generator, workers: Workers) -> Iterator[Batch]:
    """Every item once. All processes draw the same random numbers: augmentation makes whole batches, then shares."""
    order = rng.permutation(len(split))
    for start in starts(len(split), config.batch_size):
        chosen = order[start : start + config.batch_size]
        share = workers.share(len(chosen))
        mine = split.take(chosen[share])
        inputs = mine.inputs
        if config.augment:
            inputs = tuple(augment(array[chosen], rng)[share] for array in split.inputs)
        yield Batch(_on(workers, inputs), _on(workers, mine.targets), len(chosen))


def _on(workers: Workers, arrays: tuple[np.ndarray, ...]) -> Tensors:
    return tuple(torch.from_numpy(array).to(workers.place) for array in arrays)
