"""From calibration data to scales: observers that see each value once and need no second pass."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from edgekit.ops import numerics
from edgekit.recipe import QuantConfig

BINS = 2048


class Observer(Protocol):
    """Takes tensors one after the other and then gives the largest magnitude that the int8 range should hold."""

    def see(self, values: Tensor) -> None:
        """Take the values of one calibration item."""

    def limit(self) -> float:
        """The magnitude to map to 127."""


class MinMax:
    """The largest magnitude seen."""

    def __init__(self) -> None:
        self._largest = 0.0

    def see(self, values: Tensor) -> None:
        """Take the values of one calibration item."""
        if values.numel():
            self._largest = max(self._largest, float(values.detach().abs().max()))

    def limit(self) -> float:
        """The largest magnitude."""
        return self._largest


class Percentile:
    """The magnitude below which a share of all values lies, from a histogram of 2048 bins that doubles its range when it must.

    Doubling merges neighbouring bins, so every value is counted once in the bin it belongs to; the limit is exact to one bin,
    at most 1/1024 of the largest magnitude.
    """

    def __init__(self, percentile: float) -> None:
        self._share = percentile / 100
        self._counts = torch.zeros(BINS, dtype=torch.float64)
        self._range = 0.0

    def see(self, values: Tensor) -> None:
        """Take the values of one calibration item."""
        magnitudes = values.detach().abs().flatten().double()
        largest = float(magnitudes.max()) if magnitudes.numel() else 0.0
        if largest > self._range:
            self._grow(largest)
        if self._range:
            self._counts += torch.histc(magnitudes, BINS, 0, self._range)

    def _grow(self, largest: float) -> None:
        if not self._range:
            self._counts[0] = self._counts.sum()  # all values so far were 0
            self._range = largest
        while self._range < largest:
            self._counts = torch.cat([self._counts.view(-1, 2).sum(1), torch.zeros(BINS // 2, dtype=torch.float64)])
            self._range *= 2

    def limit(self) -> float:
        """Upper edge of the bin in which the share is reached."""
        total = float(self._counts.sum())
        if not total:
            return 0.0
        index = int(torch.searchsorted(self._counts.cumsum(0), self._share * total).clamp(max=BINS - 1))
        return self._range * (index + 1) / BINS


def make(config: QuantConfig) -> Observer:
    """A new observer of the kind that the configuration names."""
    return MinMax() if config.observer == "minmax" else Percentile(config.percentile)


def scale(observer: Observer) -> Tensor:
    """float32 scalar: ``limit / 127``; 1 for a tensor that was zero on every item, which then stays exactly zero."""
    value = torch.tensor(observer.limit() / numerics.S8_MAX, dtype=torch.float32)
    return torch.where(value < torch.finfo(torch.float32).tiny, torch.ones(()), value)
