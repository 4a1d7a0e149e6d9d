"""What rounds say: how many times faster than the best peer, within which interval, and whether a goal is met.

A round holds one time of every party, taken one after the other. The ratio is the best peer's median over our own, and
which peer is the best is part of the question: every resample of the rounds chooses it anew, so luck in the choice
widens the interval instead of hiding in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 4000
CONFIDENCE = 0.95
SPREAD = 0.025  # of the ratios of rounds, middle half over median: above it a ratio is not steady
FEWEST = 10  # rounds
ALLOWANCE = 0.03  # by which the lower end of an interval may miss a goal
FLOOR = 0.97  # of the best peer, where no goal is set


@dataclass(frozen=True)
class Ratio:
    """Speed of one party against the best of others.

    Attributes:
        best: the peer with the lowest median.
        ratio: the best peer's median time over the own one; above 1 is faster.
        low, high: of it, with probability :data:`CONFIDENCE`.
        spread: middle half over median of the ratio of each round.
        verdict: ``steady``, or why the ratio may not be quoted as it stands.
        rounds: how many there were.
    """

    best: str
    ratio: float
    low: float
    high: float
    spread: float
    verdict: str
    rounds: int


def against_best(own: Sequence[float], peers: Mapping[str, Sequence[float]], seed: int = 0) -> Ratio:
    """The ratio of rounds, round i of everyone being taken together.

    Args:
        own: times of our own party, one for each round, above 0.
        peers: by name the times of the others, of the same rounds; at least one.
        seed: of the resamples.
    """
    names, ours = list(peers), np.asarray(own, np.float64)
    theirs = np.asarray([peers[name] for name in names], np.float64)
    if theirs.shape[1:] != ours.shape or not ours.size:
        raise ValueError("every party needs one time for each round")
    best = int(np.argmin(np.median(theirs, axis=1)))
    low, high = _interval(ours, theirs, seed)
    middle = spread(theirs[best] / ours)
    ratio = float(np.median(theirs[best]) / np.median(ours))
    return Ratio(names[best], ratio, low, high, middle, verdict(middle, len(ours)), len(ours))


def _interval(ours: NDArray[np.float64], theirs: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """Percentiles over resamples of whole rounds, the best peer of each resample against us in the same rounds."""
    drawn = np.random.default_rng(seed).integers(ours.size, size=(RESAMPLES, ours.size))
    fastest = np.min([np.median(one[drawn], axis=1) for one in theirs], axis=0)
    ratios = fastest / np.median(ours[drawn], axis=1)
    outside = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(ratios, [outside, 100 - outside])
    return float(low), float(high)


def spread(values: Sequence[float] | NDArray[np.float64]) -> float:
    """The middle half over the median."""
    low, middle, high = np.percentile(np.asarray(values, np.float64), [25, 50, 75])
    return float((high - low) / middle)


def verdict(spread: float, rounds: int) -> str:
    """``steady``, or what speaks against quoting the number."""
    if rounds < FEWEST:
        return f"only {rounds} rounds, {FEWEST} are needed"
    return "steady" if spread <= SPREAD else f"unsteady: {spread:.1%}, the bound is {SPREAD:.1%}"


def standing(ratio: Ratio | None, goal: float | None, unmeasurable: str | None) -> str:
    """What became of a goal: ``met``, ``missed``, or ``not measured`` and why.

    Args:
        ratio: None where it was not taken.
        goal: that the ratio is held against; None asks only that it is not below :data:`FLOOR`.
        unmeasurable: why this machine cannot answer, whatever the ratio.
    """
    if ratio is None or unmeasurable is not None:
        return f"not measured: {unmeasurable or 'no ratio'}"
    if goal is None:
        return "not slower" if ratio.low >= FLOOR else f"below {FLOOR:g}x"
    return "met" if ratio.low >= goal - ALLOWANCE else "missed"
