"""From calibration data to scales: observers that see each value once and need no second pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from edgekit.ops import numerics
from edgekit.options import QuantConfig
from edgekit.quant import clip
from edgekit.quant.record import Extremes, Record


@dataclass
class Observer:
    """A record of what it is shown, and the rule that makes of it the largest magnitude for int8 to hold."""

    rule: Callable[[Any], float]
    record: Extremes
    _limit: float | None = None

    def see(self, values: Tensor) -> bool:
        """Take the values of one calibration item; False if any is NaN or infinite."""
        self._limit = None
        return self.record.see(values)

    def limit(self) -> float:
        """The magnitude to map to 127."""
        if self._limit is None:
            self._limit = self.rule(self.record)
        return self._limit


def make(config: QuantConfig) -> Observer:
    """A new observer of the kind that the configuration names; it looks no closer than its rule asks for."""
    ends: dict[str, Callable[[Extremes], float]] = {
        "minmax": clip.largest,
        "moving_average": partial(clip.moving_average, momentum=config.momentum),
    }
    rules: dict[str, Callable[[Record], float]] = {
        "percentile": partial(clip.percentile, percent=config.percentile),
        "entropy": clip.entropy,
        "mse": clip.squared_error,
    }
    if config.observer in ends:
        return Observer(ends[config.observer], Extremes())
    return Observer(rules[config.observer], Record())


def is_dead(observer: Observer) -> bool:
    """Whether a tensor was zero on every item, or so close to it that no float32 scale is small enough."""
    return observer.limit() / numerics.S8_MAX < torch.finfo(torch.float32).tiny


def scale(observer: Observer) -> Tensor:
    """float32 scalar: ``limit / 127``; 1 for a dead tensor, which then stays exactly zero."""
    return torch.tensor(1.0 if is_dead(observer) else observer.limit() / numerics.S8_MAX, dtype=torch.float32)
