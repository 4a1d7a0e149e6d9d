"""From calibration data to scales: observers that see each value once and need no second pass."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from edgekit.ops import numerics
from edgekit.options import QuantConfig

BINS = 2048


class Observer(Protocol):
    """Takes tensors one after the other and then gives the largest magnitude that the int8 range should hold."""

    def see(self, values: Tensor) -> None:
        """Take the finite values of one calibration item."""

    def limit(self) -> float:
        """The magnitude to map to 127."""


class MinMax:
    """The largest magnitude seen."""

    def __init__(self) -> None:
        self._largest = 0.0

    def see(self, values: Tensor) -> None:
        """Take the finite values of one calibration item."""
        if values.numel():
            self._largest = max(self._largest, float(values.detach().abs().max()))

    def limit(self) -> float:
        """The largest magnitude."""
        return self._largest


class Percentile:
    """The magnitude below which a share of all values lies, from a histogram of 2048 bins that doubles its range.

    The range is a power of two above every value, and doubling it merges neighbouring bins. So each value is counted
    once in the bin it belongs to, and neither the order of the values nor how they are batched makes a difference. The
    limit is exact to one bin, at most 1/1024 of the largest magnitude, and never above that magnitude.
    """

    def __init__(self, percentile: float) -> None:
        self._share = percentile / 100
        self._counts = torch.zeros(BINS, dtype=torch.float64)
        self._range = 0.0
        self._largest = 0.0

    def see(self, values: Tensor) -> None:
        """Take the finite values of one calibration item."""
        if not values.numel():
            return
        magnitudes = values.detach().abs().flatten().double()
        self._largest = max(self._largest, float(magnitudes.max()))
        self._grow()
        if self._range:
            self._counts += torch.histc(magnitudes, BINS, 0, self._range)
        else:
            self._counts[0] += magnitudes.numel()

    def _grow(self) -> None:
        wanted = math.ldexp(1.0, math.frexp(self._largest)[1]) if self._largest else 0.0
        self._range = self._range or wanted
        while self._range < wanted:
            self._counts = torch.cat([self._counts.view(-1, 2).sum(1), torch.zeros(BINS // 2, dtype=torch.float64)])
            self._range *= 2

    def limit(self) -> float:
        """Upper edge of the bin in which the share is reached, or the largest magnitude where that is less."""
        total = float(self._counts.sum())
        index = int(torch.searchsorted(self._counts.cumsum(0), self._share * total).clamp(max=BINS - 1))
        return min(self._range * (index + 1) / BINS, self._largest)


def make(config: QuantConfig) -> Observer:
    """A new observer of the kind that the configuration names."""
    return MinMax() if config.observer == "minmax" else Percentile(config.percentile)


def is_dead(observer: Observer) -> bool:
    """Whether a tensor was zero on every item, or so close to it that no float32 scale is small enough."""
    return observer.limit() / numerics.S8_MAX < torch.finfo(torch.float32).tiny


def scale(observer: Observer) -> Tensor:
    """float32 scalar: ``limit / 127``; 1 for a dead tensor, which then stays exactly zero."""
    return torch.tensor(1.0 if is_dead(observer) else observer.limit() / numerics.S8_MAX, dtype=torch.float32)
