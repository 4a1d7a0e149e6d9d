"""The one clock: every time that edgekit reports or prints under ``benchmarks/`` is taken here.

One sample is one call, between two readings of ``time.perf_counter_ns`` and with nothing else in between. The garbage
collector waits outside. A ratio needs :func:`interleave`: machines drift, so the parties take turns in one loop.
"""

from __future__ import annotations

import gc
import itertools
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

Now = Callable[[], int]


@dataclass(frozen=True)
class Samples:
    """Durations of successive calls, and the window of the same clock in which they were taken.

    Attributes:
        ns: nanoseconds of each call, in order.
        start_ns: reading of the clock before the first timed call (warm-up lies before it).
        stop_ns: reading after the last one.
        tick_ns: smallest step seen between two successive readings: what timing one call costs and resolves.
        warmup: calls made before, and not counted.
    """

    ns: tuple[int, ...]
    start_ns: int = 0
    stop_ns: int = 0
    tick_ns: int = 0
    warmup: int = 0

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return (self.stop_ns - self.start_ns) / 1e9


def measure(
    fn: Callable[[], Any],
    *,
    warmup: int = 10,
    warmup_seconds: float = 0.0,
    min_samples: int = 100,
    min_seconds: float = 0.0,
    max_seconds: float = 60.0,
    window: AbstractContextManager[Any] | None = None,
    now: Now = time.perf_counter_ns,
) -> Samples:
    """Times calls of ``fn`` until there are ``min_samples`` and ``min_seconds`` have passed, or ``max_seconds`` have.

    Args:
        fn: what is timed; it must have finished its work when it returns.
        warmup: calls made first and not counted.
        warmup_seconds: how long to make such calls at least: ten calls of a small model warm nothing.
        min_samples: fewest samples wanted.
        min_seconds: shortest window wanted.
        max_seconds: where to stop even so; the result may then hold fewer samples, at least one.
        window: entered just before the first timed call and left just after the last: an energy meter.
        now: the clock, in nanoseconds.
    """
    return interleave(
        {"": fn},
        warmup=warmup,
        warmup_seconds=warmup_seconds,
        min_samples=min_samples,
        min_seconds=min_seconds,
        max_seconds=max_seconds,
        window=window,
        now=now,
    )[""]


def interleave(
    fns: Mapping[str, Callable[[], Any]],
    *,
    warmup: int = 10,
    warmup_seconds: float = 0.0,
    min_samples: int = 100,
    min_seconds: float = 0.0,
    max_seconds: float = 60.0,
    window: AbstractContextManager[Any] | None = None,
    before_each: Callable[[], Any] | None = None,
    now: Now = time.perf_counter_ns,
) -> dict[str, Samples]:
    """Times several functions in turn, A B A B, so that sample i of one stands beside sample i of the others.

    The arguments mean the same as in :func:`measure`; ``min_samples`` holds for each function, and ``before_each`` is
    called before every timed call, outside its time: to empty the caches.
    """
    if not fns:
        return {}
    warmed = _warm_up(tuple(fns.values()), warmup, warmup_seconds, now)
    tick, taken = tick_ns(now), {name: array("q") for name in fns}
    with _collector_paused(), window if window is not None else nullcontext():
        start = stop = now()
        while not _enough(len(next(iter(taken.values()))), stop - start, min_samples, min_seconds, max_seconds):
            for name, fn in fns.items():
                if before_each is not None:
                    before_each()
                before = now()
                fn()
                stop = now()
                taken[name].append(stop - before)
    return {name: Samples(tuple(ns), start, stop, tick, warmed) for name, ns in taken.items()}


def tick_ns(now: Now = time.perf_counter_ns) -> int:
    """Smallest positive step between two successive readings of the clock, over a thousand of them."""
    readings = [now() for _ in range(1001)]
    return min((b - a for a, b in itertools.pairwise(readings) if b > a), default=0)


def _warm_up(fns: tuple[Callable[[], Any], ...], calls: int, seconds: float, now: Now) -> int:
    """Calls every function in turn until both bounds are met; returns how often."""
    made, start = 0, now()
    while made < calls or now() - start < seconds * 1e9:
        for fn in fns:
            fn()
        made += 1
    return made


def _enough(count: int, elapsed_ns: int, min_samples: int, min_seconds: float, max_seconds: float) -> bool:
    if count == 0:
        return False
    return elapsed_ns >= max_seconds * 1e9 or (count >= min_samples and elapsed_ns >= min_seconds * 1e9)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """A collection in the middle of a call is Python's time, not the model's."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
