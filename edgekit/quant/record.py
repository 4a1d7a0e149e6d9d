"""What calibration keeps of one tensor: extremes, a histogram of magnitudes, the largest magnitude of each item.

Every observer takes its limit from a record, so one pass over the data serves all of them. Records add up exactly: what
two machines saw of their own data, merged, is to the bit what one machine sees of all of it.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgekit.ops import observe as op

BINS = op.BINS
_LARGE = 1 << 19  # values; looking at fewer takes less time than starting threads is worth


def _no_counts() -> Tensor:
    return torch.zeros(BINS, dtype=torch.int64)


@dataclass
class Record:
    """The values of one tensor over all calibration items.

    Attributes:
        least, most: smallest and largest value; zeros before there is one.
        exponent: the histogram's range is ``[0, 2 ** exponent)``, the narrowest that holds every magnitude.
        histogram: int64 [2048], how many magnitudes are in each of so many equally wide bins.
        peaks: the largest magnitude of each item, in order; all but this is the same for any order and any batches.
    """

    least: float = 0.0
    most: float = 0.0
    exponent: int = op.LEAST_EXPONENT
    histogram: Tensor = field(default_factory=_no_counts)
    peaks: list[float] = field(default_factory=list)

    def see(self, values: Tensor) -> bool:
        """Take the values of one calibration item; False if any is NaN or infinite."""
        if not values.numel():
            return True
        item, finite = Record(), True
        for extremes, tally, histogram in _look(_dense(values.detach().float())):
            (least, most), (_, others, exponent) = extremes.tolist(), tally.tolist()
            item._add(Record(least, most, exponent, histogram, [max(abs(least), abs(most))]))
            finite = finite and not others
        item.peaks = [item.largest]
        self._add(item)
        return finite

    @property
    def count(self) -> int:
        """How many values there were."""
        return int(self.histogram.sum())

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(abs(self.least), abs(self.most))

    @property
    def width(self) -> float:
        """Of a bin of the histogram."""
        return math.ldexp(1 / BINS, self.exponent)

    def __add__(self, other: Record) -> Record:
        """The record of what both saw, the items of ``other`` after those of this one."""
        result = Record(self.least, self.most, self.exponent, self.histogram.clone(), list(self.peaks))
        result._add(other)
        return result

    def __eq__(self, other: object) -> bool:
        """Whether all of it is the same, to the bit."""
        if not isinstance(other, Record):
            return NotImplemented
        numbers = [(one.least, one.most, one.exponent, one.peaks) for one in (self, other)]
        return numbers[0] == numbers[1] and torch.equal(self.histogram, other.histogram)

    def _add(self, other: Record) -> None:
        if other.peaks:
            self.least = min(self.least, other.least) if self.peaks else other.least
            self.most = max(self.most, other.most) if self.peaks else other.most
        exponent = max(self.exponent, other.exponent)
        mine, others = (_widened(one.histogram, exponent - one.exponent) for one in (self, other))
        self.histogram, self.exponent = mine + others, exponent
        self.peaks += other.peaks


def _widened(histogram: Tensor, times: int) -> Tensor:
    """The histogram with a range doubled so many times: each run of bins becomes one."""
    if not times:
        return histogram
    runs = histogram.view(-1, 2 ** min(times, int(math.log2(BINS)))).sum(1)
    return torch.cat([runs, histogram.new_zeros(BINS - len(runs))])


def _look(values: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """What the operator finds: of a large tensor in parts, one for each of torch's threads."""
    if values.numel() < _LARGE:
        return [torch.ops.edgekit.observe(values)]
    parts = values.flatten().chunk(torch.get_num_threads())
    with ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(torch.ops.edgekit.observe, parts))


def _dense(values: Tensor) -> Tensor:
    """The values in the order in which they lie in memory, so that nothing is copied for the operator."""
    return values.permute(sorted(range(values.dim()), key=values.stride, reverse=True))
