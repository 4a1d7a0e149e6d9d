"""Geometry of the report's charts: axes and outlines in percent of the drawing; numbers stay text beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.bench import words

LOG_FROM = 4.0  # a longer span than this, largest over smallest, reads better on a logarithmic axis


@dataclass(frozen=True)
class Axis:
    """A horizontal axis of times in microseconds."""

    low: float
    high: float
    logarithmic: bool

    def at(self, value: float) -> float:
        """Place of a value, in percent of the width."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(max(value, self.low))
        return round(100 * min(max((value - low) / (high - low), 0.0), 1.0), 3)

    def ticks(self) -> list[tuple[float, str]]:
        """Places and labels of about six round values, none so near the border that its label would stick out."""
        values = _round_logarithmic(self.low, self.high) if self.logarithmic else _round_linear(self.low, self.high)
        return [(place, words.duration(value)) for value in values if 3 <= (place := self.at(value)) <= 97]


def axis(histograms: Sequence[Mapping[str, Any]]) -> Axis:
    """One axis that holds all the histograms, with a little room at both ends."""
    edges = [edge for item in histograms for edge in item["edges_us"]]
    low, high = min(edges), max(edges)
    if low > 0 and high / low > LOG_FROM:
        return Axis(low * 0.95, high * 1.05, True)
    room = 0.04 * (high - low) or 0.5
    return Axis(max(low - room, 0.0), high + room, False)


def outline(histogram: Mapping[str, Any], on: Axis) -> str:
    """SVG path of the histogram's outline in a box of 100 by 100, its highest bin at the top."""
    edges, counts = histogram["edges_us"], histogram["counts"]
    peak = max(counts) or 1
    steps = [f"M{on.at(edges[0]):g} 100"]
    for left, right, amount in zip(edges, edges[1:], counts, strict=False):
        height = round(100 - 94 * amount / peak, 2)
        steps.append(f"L{on.at(left):g} {height:g}L{on.at(right):g} {height:g}")
    return "".join([*steps, f"L{on.at(edges[-1]):g} 100Z"])


def is_histogram(item: object) -> bool:
    """Whether a value from a file is a histogram that can be drawn."""
    if not isinstance(item, dict):
        return False
    edges, counts = item.get("edges_us"), item.get("counts")
    if not isinstance(edges, list) or not isinstance(counts, list) or len(edges) != len(counts) + 1 or not counts:
        return False
    numbers = [words.number(value) for value in (*edges, *counts)]
    return all(value is not None and value >= 0 for value in numbers) and edges == sorted(set(edges))


def _round_linear(low: float, high: float) -> list[float]:
    span = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(span))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= span)
    return [step * index for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _round_logarithmic(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if high / low < 300 else (1,)
    return [factor * 10.0**power for power in powers for factor in factors if low <= factor * 10.0**power <= high]
