"""The learning rate of every step, a function of the step alone: there is no state to keep."""

from __future__ import annotations

import math
from collections.abc import Callable

from edgekit.options import TrainConfig

SHAPES: dict[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "cosine": lambda done: (1 + math.cos(math.pi * min(done, 1))) / 2,  # Loshchilov and Hutter 2017
    "linear": lambda done: 1 - min(done, 1),
    "step": lambda done: 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01,
}


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The rate of a step, counted from 0.

    During the warm-up it rises by equal steps, the last of which reaches ``config.learning_rate`` (Goyal et al. 2017);
    the schedule takes the time that is left.
    """
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return config.learning_rate * min((step + 1) / warmup, 1)
    rest = config.epochs * steps_per_epoch - warmup
    return config.learning_rate * SHAPES[config.schedule]((step - warmup) / max(rest, 1))
