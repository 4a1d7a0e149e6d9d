"""Faster, slower, the same, or nothing that can be said: one word for a kernel against a base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgekit.bench.kernels.series import Median
from edgekit.bench.statistics import THRESHOLDS, compare

Word = Literal["SAME", "FAST", "SLOW", "UNSURE"]

IN_TURN = THRESHOLDS.indifference  # nearer to 1 than this a ratio of calls made in turn is no difference
BETWEEN_RUNS = 0.05  # and one of two runs: clocks, pages and neighbours change in between


@dataclass(frozen=True)
class Verdict:
    """How many times as long the base takes, and what may be said of it.

    Attributes:
        word: ``FAST`` or ``SLOW`` where the whole interval is beyond the indifference, ``SAME`` where it lies within
            twice that, else ``UNSURE``.
        ratio: time of the base over own time.
        low, high: interval of the ratio.
        base: what it is held against.
        reason: why nothing can be said; empty otherwise.
    """

    word: Word
    ratio: float
    low: float
    high: float
    base: str
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """The verdict as plain JSON values."""
        return asdict(self)


def in_turn(own_ns: Sequence[int], base_ns: Sequence[int], own: Median, other: Median, base: str) -> Verdict:
    """From calls made in turn: the interval of the median ratio of pairs, at 99.9 %."""
    found = compare(own_ns, base_ns)
    high = min(found.high, 1e9)  # there is no interval of a few pairs, and JSON has no infinity
    return _verdict(found.ratio, found.low, high, IN_TURN, _unsettled(own, other), base)


def between_runs(own: Median, other: Median, base: str) -> Verdict:
    """From the medians of two runs and their intervals."""
    ratio, low, high = other.us / own.us, other.low_us / own.high_us, other.high_us / own.low_us
    return _verdict(ratio, low, high, BETWEEN_RUNS, _unsettled(own, other), base)


def _unsettled(own: Median, other: Median) -> str:
    names = [name for name, one in (("its own", own), ("the base's", other)) if not one.settled]
    return f"{' and '.join(names)} median is not known to 1 %" if names else ""


def _verdict(ratio: float, low: float, high: float, indifference: float, doubt: str, base: str) -> Verdict:
    bound, wide = 1 + indifference, 1 + 2 * indifference
    word: Word = "UNSURE"
    if doubt:
        return Verdict(word, ratio, low, high, base, doubt)
    if low > bound or high < 1 / bound:
        word = "FAST" if low > bound else "SLOW"
    elif low >= 1 / wide and high <= wide:
        word = "SAME"
    reason = "" if word != "UNSURE" else f"the ratio lies between {low:.3f} and {high:.3f}"
    return Verdict(word, ratio, low, high, base, reason)
