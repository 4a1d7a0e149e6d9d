"""When to stop: a series of times is settled once its median is known to one percent, or its time is spent.

The interval of the median comes from ranks (:func:`edgekit.bench.statistics.sign_rank`), so it holds for times of any
distribution. It is looked at several times while the series grows, which makes it a little too narrow; a verdict
therefore rests on pairs of calls made in turn, where there are some (:mod:`edgekit.bench.kernels.verdict`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.bench.clock import Now
from edgekit.bench.statistics import sign_rank

HALF_WIDTH = 0.01  # of the interval of a settled median, over the median
CONFIDENCE = 0.95
FIRST = 20  # samples of the first round
MOST = 100_000  # samples of one series

Rounds = Callable[[int, float], Mapping[str, Sequence[int]]]


@dataclass(frozen=True)
class Median:
    """What a series of times says.

    Attributes:
        us: median, in microseconds.
        low_us, high_us: interval that holds the true median with a probability of 95 %; the whole range of the samples
            where there are too few for it.
        n: samples.
        settled: whether half of the interval is below one percent of the median.
    """

    us: float
    low_us: float
    high_us: float
    n: int
    settled: bool

    @property
    def half_width(self) -> float:
        """Half of the interval over the median."""
        return (self.high_us - self.low_us) / 2 / self.us if self.us > 0 else float("inf")


def median(ns: Sequence[int]) -> Median:
    """The median of at least one time in nanoseconds, and the interval around it."""
    ordered = np.sort(np.asarray(ns, dtype=np.float64)) / 1e3
    rank = sign_rank(len(ordered), 1 - CONFIDENCE)
    low, high = float(ordered[rank or 0]), float(ordered[-1 - (rank or 0)])
    middle = float(np.median(ordered))
    settled = rank is not None and middle > 0 and (high - low) / 2 < HALF_WIDTH * middle
    return Median(middle, low, high, len(ordered), settled)


def settle(rounds: Rounds, budget_s: float, now: Now = time.perf_counter_ns) -> dict[str, list[int]]:
    """Take rounds of samples until the median of every party is settled or the time is spent.

    Args:
        rounds: makes so many calls of each party in turn, fewer if the seconds given are over before, at least one;
            gives the nanoseconds of each, party by party.
        budget_s: seconds for all parties together.
        now: the clock that the budget is counted on, in nanoseconds.
    """
    taken: dict[str, list[int]] = {}
    began, count = now(), FIRST
    while True:
        left = budget_s - (now() - began) / 1e9
        for name, ns in rounds(count, left).items():
            taken.setdefault(name, []).extend(ns)
        length = max(map(len, taken.values()), default=MOST)
        if all(median(ns).settled for ns in taken.values()) or length >= MOST:
            return taken
        if now() - began >= budget_s * 1e9:
            return taken
        count = max(FIRST, length // 2)
