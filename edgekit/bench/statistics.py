"""What a series of times says, and whether it may be quoted: percentiles, spread, drift, two modes, and one verdict.

All thresholds of edgekit's measurements stand in :class:`Thresholds`. A number is ``valid``, ``warn`` (quote it with
its reasons) or ``invalid`` (reports strike it through, comparisons refuse it).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.bench.clock import Samples

Level = Literal["valid", "warn", "invalid"]
PERCENTILES = (50, 90, 95, 99)
HISTOGRAM_BINS = 48


@dataclass(frozen=True)
class Thresholds:
    """Where a verdict turns; fractions unless the name says otherwise.

    Attributes:
        quick_samples, quick_seconds: below either a number is invalid.
        full_samples, full_seconds: below either a number is labelled quick.
        cv: coefficient of variation above which a number is unstable (trtexec's and nvbench's figure).
        spread: interquartile range over median above which nothing can be said.
        drift: change of the median from the first quarter of the series to the last.
        mode_gap, mode_share: two clusters count as two modes if so far apart, over the median, and each so large.
        mode_separation: Ashman's D of the two halves; 2.65 for a split normal, 3.5 for a uniform distribution.
        tick_share: part of the median that the clock's own step may be.
        foreign_cores: cores that other processes may use in the window.
        frequency: change of the CPU clock over the window.
        indifference: nearer to 1 than this a ratio is no difference: one function timed in turn with itself was seen to
            differ by 0.4 % from its place in the turn alone, however many the samples.
        confidence: of the interval of a ratio.
        energy_seconds: shortest window for an energy counter.
        energy_skew_s: largest distance between the ends of the energy window and those of the timed one.
    """

    quick_samples: int = 100
    quick_seconds: float = 3.0
    full_samples: int = 1024
    full_seconds: float = 60.0
    cv: float = 0.025
    spread: float = 0.5
    drift: float = 0.02
    mode_gap: float = 0.05
    mode_share: float = 0.1
    mode_separation: float = 4.0
    tick_share: float = 0.01
    foreign_cores: float = 0.1
    frequency: float = 0.02
    indifference: float = 0.01
    confidence: float = 0.999
    energy_seconds: float = 3.0
    energy_skew_s: float = 0.05


THRESHOLDS = Thresholds()


@dataclass(frozen=True)
class Finding:
    """Something that speaks against a number."""

    level: Level
    reason: str


@dataclass(frozen=True)
class Verdict:
    """Whether a number may be quoted, why not, and by which protocol it was taken (``quick`` or ``full``)."""

    level: Level
    reasons: tuple[str, ...]
    protocol: Literal["quick", "full"]


@dataclass(frozen=True)
class Statistics:
    """A series of times in microseconds; ratios are fractions.

    Attributes:
        n, seconds: samples and length of the window.
        percentiles: by linear interpolation between the nearest ranks.
        cv: standard deviation over mean.
        spread: interquartile range over median; outliers leave it alone.
        drift: change of the median from the first quarter to the last, 0 where it is not significant.
        modes: 1, or 2 where the times fall into two clusters.
        tick: the clock's step over the median.
    """

    n: int
    seconds: float
    percentiles_us: dict[int, float]
    min_us: float
    max_us: float
    mean_us: float
    cv: float
    spread: float
    drift: float
    modes: int
    tick: float


def summarise(samples: Samples, thresholds: Thresholds = THRESHOLDS) -> Statistics:
    """Statistics of a series of at least one sample."""
    us = np.asarray(samples.ns, dtype=np.float64) / 1e3
    median, mean = float(np.median(us)), float(us.mean())
    low, high = np.percentile(us, [25, 75])
    return Statistics(
        n=len(us),
        seconds=samples.seconds,
        percentiles_us={p: float(np.percentile(us, p)) for p in PERCENTILES},
        min_us=float(us.min()),
        max_us=float(us.max()),
        mean_us=mean,
        cv=_ratio(float(us.std()), mean),
        spread=_ratio(float(high - low), median),
        drift=_drift(us),
        modes=_modes(us, thresholds),
        tick=_ratio(samples.tick_ns / 1e3, median),
    )


def judge(stats: Statistics, findings: Sequence[Finding] = (), thresholds: Thresholds = THRESHOLDS) -> Verdict:
    """The verdict on a series: its own rules first, then what else was found; the worst level wins."""
    found = [*_rules(stats, thresholds), *findings]
    levels = [finding.level for finding in found]
    level: Level = "invalid" if "invalid" in levels else "warn" if "warn" in levels else "valid"
    full = stats.n >= thresholds.full_samples and stats.seconds >= thresholds.full_seconds
    return Verdict(level, tuple(finding.reason for finding in found), "full" if full else "quick")


def _rules(stats: Statistics, limit: Thresholds) -> list[Finding]:
    too_few = f"{stats.n} samples, at least {limit.quick_samples} are needed"
    too_short = f"a window of {stats.seconds:.2f} s, at least {limit.quick_seconds:g} s are needed"
    scattered = f"the middle half of the calls spreads over {stats.spread:.0%} of the median (bound {limit.spread:.0%})"
    unstable = f"unstable: variation {stats.cv:.1%} (bound {limit.cv:.1%}), middle half within {stats.spread:.1%}"
    drifting = f"drifting: the median moved by {stats.drift:+.1%} from start to end"
    rules: tuple[tuple[bool, Level, str], ...] = (
        (stats.min_us <= 0, "invalid", "a call took no time at all: the clock or the call is broken"),
        (stats.n < limit.quick_samples, "invalid", too_few),
        (stats.seconds < limit.quick_seconds, "invalid", too_short),
        (stats.spread > limit.spread, "invalid", scattered),
        (stats.cv > limit.cv, "warn", unstable),
        (abs(stats.drift) > limit.drift, "warn", drifting),
        (stats.modes > 1, "warn", "two modes: the times fall into two clusters"),
        (stats.tick > limit.tick_share, "warn", f"one step of the clock is {stats.tick:.1%} of the median"),
    )
    return [Finding(level, reason) for fires, level, reason in rules if fires]


def _ratio(value: float, base: float) -> float:
    return value / base if base > 0 else 0.0


def _drift(us: NDArray[np.float64]) -> float:
    """Relative change of the median between the outer quarters, 0 unless beyond four standard errors.

    The standard error of a median of n samples is about 1.25 sigma / sqrt(n), with sigma = 1.48 MAD.
    """
    quarter = len(us) // 4
    if quarter < 8:
        return 0.0
    first, last = us[:quarter], us[-quarter:]
    change = float(np.median(last) - np.median(first))
    errors = [
        1.25 * 1.4826 * float(np.median(np.abs(part - np.median(part)))) / math.sqrt(quarter) for part in (first, last)
    ]
    return _ratio(change, float(np.median(us))) if abs(change) > 4 * math.hypot(*errors) else 0.0


def _modes(us: NDArray[np.float64], limit: Thresholds) -> int:
    """2 where the best split in two (Otsu's) leaves clusters that are large, distant and narrow; else 1."""
    ordered = np.sort(us[us <= np.percentile(us, 99)])
    n = len(ordered)
    if n < 20 or ordered[0] == ordered[-1]:
        return 1
    below = np.arange(1, n)
    sums = np.cumsum(ordered)
    means = sums[:-1] / below, (sums[-1] - sums[:-1]) / (n - below)
    split = int(np.argmax(below * (n - below) * (means[1] - means[0]) ** 2)) + 1
    low, high = ordered[:split], ordered[split:]
    gap = float(high.mean() - low.mean())
    width = math.sqrt(float(low.var() + high.var()))
    separated = width == 0 or math.sqrt(2) * gap / width > limit.mode_separation
    large = min(split, n - split) >= limit.mode_share * n
    return 2 if separated and large and gap > limit.mode_gap * float(np.median(us)) else 1


@dataclass(frozen=True)
class Histogram:
    """Counts of times in equal bins from the fastest call to the 99th percentile.

    Attributes:
        edges_us: borders of the bins, one more than there are bins.
        counts: samples in each bin.
        above: samples beyond the last border.
    """

    edges_us: tuple[float, ...]
    counts: tuple[int, ...]
    above: int


def histogram(samples: Samples, bins: int = HISTOGRAM_BINS) -> Histogram:
    """Bins for drawing; the slowest percent is only counted, so that one outlier does not flatten the rest."""
    us = np.asarray(samples.ns, dtype=np.float64) / 1e3
    low, high = float(us.min()), float(np.percentile(us, 99))
    counts, edges = np.histogram(us, bins=bins, range=(low, max(high, low + 1e-3)))
    return Histogram(tuple(map(float, edges)), tuple(map(int, counts)), len(us) - int(counts.sum()))


@dataclass(frozen=True)
class Speedup:
    """How many times faster one party is than the other, from calls made in turn.

    Attributes:
        ratio: median over the pairs of (other's time / own time); above 1 is faster.
        low, high: interval that holds the true median ratio with probability ``confidence``.
        word: ``faster`` or ``slower`` where the whole interval is beyond the indifference, else ``ambiguous``.
    """

    ratio: float
    low: float
    high: float
    word: Literal["faster", "slower", "ambiguous"]
    n: int
    confidence: float


def compare(own_ns: Sequence[int], other_ns: Sequence[int], thresholds: Thresholds = THRESHOLDS) -> Speedup:
    """Speed of ``own`` against ``other`` from interleaved samples, by the sign test on their pairs.

    The interval is exact for independent pairs whatever the distribution: the number of pairs below the
    true median is binomial. Pairing takes out what drifts in both.
    """
    pairs = np.sort(np.asarray(other_ns, dtype=np.float64) / np.maximum(np.asarray(own_ns, dtype=np.float64), 1.0))
    rank, bound = sign_rank(len(pairs), 1 - thresholds.confidence), 1 + thresholds.indifference
    low, high = (float(pairs[rank]), float(pairs[-1 - rank])) if rank is not None else (0.0, math.inf)
    word: Literal["faster", "slower", "ambiguous"] = "ambiguous"
    if low > bound or high < 1 / bound:
        word = "faster" if low > bound else "slower"
    return Speedup(float(np.median(pairs)), low, high, word, len(pairs), thresholds.confidence)


def sign_rank(n: int, alpha: float) -> int | None:
    """Largest k with P(Binomial(n, 1/2) <= k) <= alpha / 2; None where even k = 0 is too likely.

    Of n sorted samples, those at k and at -1 - k enclose the median with probability 1 - alpha at least.
    """
    tail, log_half = 0.0, n * math.log(0.5)
    for k in range(n // 2 + 1):
        tail += math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + log_half)
        if tail > alpha / 2:
            return k - 1 if k > 0 else None
    return None
