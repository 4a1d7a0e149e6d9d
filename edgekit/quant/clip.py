"""Where to cut a tensor's tail: from the record of its values to the magnitude that int8 should just hold.

A narrower range rounds all values less and cuts some. Percentile, entropy and squared error weigh that in different
ways; each reads the histogram of magnitudes, none needs the values again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgekit.ops.numerics import S8_MAX
from edgekit.quant.record import BINS, Extremes, Record

LEVELS = S8_MAX + 1  # of magnitude
_STRIDE = 8  # bins between two candidates of squared_error: under 0.8 % of the largest magnitude


def largest(record: Extremes) -> float:
    """The largest magnitude: nothing is cut."""
    return record.largest


def moving_average(record: Extremes, momentum: float) -> float:
    """The items' largest magnitudes, averaged: ``average += momentum * (magnitude - average)``, from the first on.

    The one observer for which order and batches of the items matter. torch.ao's MovingAverageMinMaxObserver.
    """
    average, *others = record.peaks or [0.0]
    for peak in others:
        average += momentum * (peak - average)
    return average


def percentile(record: Record, percent: float) -> float:
    """The magnitude below which so many percent of the values lie.

    Exact to one bin, at most 1/1024 of the largest magnitude, and never above that magnitude.
    """
    reached = record.histogram.cumsum(0).double()
    index = int(torch.searchsorted(reached, percent / 100 * record.count).clamp(max=BINS - 1))
    return min(record.width * (index + 1), record.largest)


def entropy(record: Record) -> float:
    """The range whose 128 levels lose the least information about the magnitudes, by Kullback and Leibler.

    NVIDIA's algorithm (Migacz, "8-bit inference with TensorRT", GTC 2017): of the ranges of 128 to 2048 bins, the
    widest with the least :func:`divergence`.
    """
    if not record.count:
        return 0.0
    used = int(record.histogram.nonzero()[-1]) + 1
    if used <= LEVELS:  # only where all values are next to nothing: the largest lies in the upper half of the range
        return record.largest
    sizes = torch.arange(LEVELS, used + 1)
    found = divergence(record.histogram, sizes)
    best = int(sizes[(found == found.min()).nonzero()[-1]])
    return min(record.width * best, record.largest)


def divergence(histogram: Tensor, sizes: Tensor) -> Tensor:
    """``KL(P || Q)`` in nats for ranges of so many bins each, float64 [len(sizes)]; infinite where Q lacks a value.

    P are the counts of the first ``size`` bins, all further ones added to the last. Q are the same bins without those,
    each replaced by the mean of the used bins on its level, which is a 128th of the range. Zeros, half of what a ReLU
    gives, are the same on any scale: bin 0 counts as much as bin 1. All sums are differences of running sums.
    """
    counts = histogram.double()
    counts[0] = counts[1]
    edges = -(-sizes[:, None] * torch.arange(LEVELS + 1) // LEVELS)  # first bin of each level, and the end
    on_level, used = _between(counts, edges), _between(counts.sign(), edges)
    mean = on_level / used.clamp(min=1)
    total, inside, last = counts.sum(), on_level.sum(1), counts[sizes - 1]
    outside = total - inside
    of_p = _running(torch.xlogy(counts, counts))[sizes - 1] + torch.xlogy(last + outside, last + outside)
    of_q = torch.xlogy(on_level, mean).sum(1) + torch.xlogy(outside, mean[:, -1])
    found = (of_p - of_q) / total - total.log() + inside.log()
    return torch.where((inside > 0) & ((last > 0) | (outside == 0)), found, torch.inf)


def squared_error(record: Record) -> float:
    """The limit of the least :func:`expected_error`, among 256 across the range."""
    if not record.largest:
        return 0.0
    candidates = torch.arange(_STRIDE, BINS, _STRIDE, dtype=torch.float64) * record.width
    candidates = torch.cat([candidates[candidates < record.largest], torch.tensor([record.largest]).double()])
    return float(candidates[expected_error(record, candidates).argmin()])


def expected_error(record: Record, limits: Tensor) -> Tensor:
    """Mean squared error of quantise and dequantise at scale ``limit / 127`` for each limit, float64, rounding and cut.

    Values are taken to be spread evenly within a bin. Zeros, half of what a ReLU gives, are exact on any scale: what
    bin 0 holds beyond bin 1 is taken for them. Over a stretch from 0 to u steps the squared error sums up to
    ``k / 12 + (u - k)^3 / 3`` with k the level of u, 127 at most.
    """
    scales = limits.double()[:, None] / S8_MAX
    steps = torch.arange(BINS + 1) * record.width / scales
    level = steps.round().clamp(max=S8_MAX)
    summed = level / 12 + (steps - level) ** 3 / 3
    in_bin = summed.diff(dim=1) * scales**3 / record.width
    counts = record.histogram.double()
    counts[0] = counts[:2].min()
    return in_bin @ counts / record.count


def _running(values: Tensor) -> Tensor:
    """Sums of the first 0, 1, ... values."""
    return torch.cat([values.new_zeros(1), values.cumsum(0)])


def _between(values: Tensor, edges: Tensor) -> Tensor:
    return _running(values)[edges].diff(dim=1)
