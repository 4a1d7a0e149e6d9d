"""What calibration keeps of one tensor: extremes, a histogram of magnitudes, the largest magnitude of each item.

Every observer takes its limit from a record, so one pass over the data serves all of them. Records add up exactly: what
two machines saw of their own data, merged, is to the bit what one machine sees of all of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgekit.ops import observe as op

BINS = op.BINS


def _no_counts() -> Tensor:
    return torch.zeros(BINS, dtype=torch.int64)


@dataclass
class Extremes:
    """The ends of the values of one tensor over all calibration items: what costs next to nothing to know.

    Attributes:
        least, most: smallest and largest value; zeros before there is one.
        peaks: the largest magnitude of each item, in order; all but this is the same for any order and any batches.
    """

    least: float = 0.0
    most: float = 0.0
    peaks: list[float] = field(default_factory=list)

    def see(self, values: Tensor) -> bool:
        """Take the values of one calibration item; False, and nothing is taken, if any is NaN or infinite."""
        if not values.numel():
            return True
        least, most = (float(end) + 0.0 for end in torch.aminmax(values.detach().float()))  # -0 becomes 0
        if not (math.isfinite(least) and math.isfinite(most)):
            return False
        self._widen(least, most)
        self.peaks.append(max(abs(least), abs(most)))
        return True

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(abs(self.least), abs(self.most))

    def _widen(self, least: float, most: float) -> None:
        self.least = min(self.least, least) if self.peaks else least
        self.most = max(self.most, most) if self.peaks else most


@dataclass
class Record(Extremes):
    """The values of one tensor over all calibration items: extremes and a histogram, all that any observer wants.

    Attributes:
        exponent: the histogram's range is ``[0, 2 ** exponent)``, the narrowest that holds every magnitude.
        histogram: int64 [2048], how many magnitudes are in each of so many equally wide bins.
    """

    exponent: int = op.LEAST_EXPONENT
    histogram: Tensor = field(default_factory=_no_counts)

    def see(self, values: Tensor) -> bool:
        """Take the values of one calibration item; False if any is NaN or infinite."""
        if not values.numel():
            return True
        extremes, tally, histogram = torch.ops.edgekit.observe(_dense(values.detach().float()))
        (least, most), (_, others, exponent) = extremes.tolist(), tally.tolist()
        self._add(Record(least, most, [max(abs(least), abs(most))], exponent, histogram))
        return not others

    @property
    def count(self) -> int:
        """How many values there were."""
        return int(self.histogram.sum())

    @property
    def width(self) -> float:
        """Of a bin of the histogram."""
        return math.ldexp(1 / BINS, self.exponent)

    def __add__(self, other: Record) -> Record:
        """The record of what both saw, the items of ``other`` after those of this one."""
        result = Record(self.least, self.most, list(self.peaks), self.exponent, self.histogram.clone())
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
            self._widen(other.least, other.most)
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


def _dense(values: Tensor) -> Tensor:
    """The values in the order in which they lie in memory, so that nothing is copied for the operator."""
    return values.permute(sorted(range(values.dim()), key=values.stride, reverse=True))
