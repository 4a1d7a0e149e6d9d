"""Two clocks with one face: calls on the processor, by the clock of all benchmarks; work of a GPU, by CUDA events.

A stopwatch makes rounds of calls in turn, warm or cold, and gives nanoseconds. Warm means that a call finds in the
caches what the call before left there; cold, that other memory was written in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from edgekit.bench.clock import Now, interleave
from edgekit.bench.kernels import caches
from edgekit.bench.kernels.series import Median, median, settle

Calls = Mapping[str, Callable[[], Any]]
STATES = ("warm", "cold")
WARM_UP = 3  # calls; the first ones compile, load and allocate


class Stopwatch(Protocol):
    """What times."""

    device: str

    def round(self, calls: Calls, count: int, seconds: float, cold: bool) -> dict[str, list[int]]:
        """Nanoseconds of ``count`` calls of each, made in turn; of fewer if ``seconds`` are over, one at least."""
        ...


class CpuStopwatch:
    """One sample is one call, between two readings of the clock.

    Args:
        evict: empties the caches.
        now: the clock, in nanoseconds.
    """

    device = "cpu"

    def __init__(self, evict: Callable[[], None] | None = None, now: Now = time.perf_counter_ns) -> None:
        self._evict, self._now = evict or caches.evictor(), now

    def round(self, calls: Calls, count: int, seconds: float, cold: bool) -> dict[str, list[int]]:
        """As :meth:`Stopwatch.round`."""
        limits = {"warmup": 0, "min_samples": count, "max_seconds": max(seconds, 0.0)}
        before = self._evict if cold else None
        series = interleave(calls, **limits, before_each=before, now=self._now)  # type: ignore[arg-type]
        return {name: list(samples.ns) for name, samples in series.items()}


class CudaStopwatch:
    """One sample is what lies between two CUDA events on the current stream: the kernels, not Python.

    A batch of calls is queued behind a kernel that only waits, so that the device never waits for the launches. The
    gap between two events with nothing in between is part of every sample.
    """

    device = "cuda"
    _BATCH = 16
    _CYCLES_PER_SECOND = 2.0e9  # at least: a longer wait does no harm

    def __init__(self) -> None:
        import torch

        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        size = max(2 * getattr(properties, "L2_cache_size", 0), 128 << 20)
        self._other = torch.empty(size, dtype=torch.int8, device="cuda")
        self._torch = torch

    def round(self, calls: Calls, count: int, seconds: float, cold: bool) -> dict[str, list[int]]:
        """As :meth:`Stopwatch.round`."""
        taken: dict[str, list[int]] = {name: [] for name in calls}
        began = time.perf_counter()
        turn_s, done = self._issue_s(calls, cold), 0
        while done < count:
            turns = min(self._BATCH, count - done)
            events = self._queue(calls, turns, 1.5 * turns * turn_s, cold)
            self._torch.cuda.synchronize()
            for name, start, stop in events:
                taken[name].append(round(start.elapsed_time(stop) * 1e6))
            done += turns
            if time.perf_counter() - began >= seconds:
                break
        return taken

    def _issue_s(self, calls: Calls, cold: bool) -> float:
        """Seconds that Python takes to queue one turn."""
        self._torch.cuda.synchronize()
        began = time.perf_counter()
        self._queue(calls, 1, 0.0, cold)
        taken = time.perf_counter() - began
        self._torch.cuda.synchronize()
        return taken

    def _queue(self, calls: Calls, count: int, wait_s: float, cold: bool) -> list[tuple[str, Any, Any]]:
        cuda, events = self._torch.cuda, []
        cuda._sleep(int(min(wait_s, 0.1) * self._CYCLES_PER_SECOND))
        for _ in range(count):
            for name, call in calls.items():
                if cold:
                    self._other.zero_()
                start, stop = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
                start.record()
                call()
                stop.record()
                events.append((name, start, stop))
        return events


def stopwatch(device: str) -> Stopwatch:
    """The stopwatch for work on ``cpu`` or ``cuda``."""
    return CudaStopwatch() if device == "cuda" else CpuStopwatch()


def series(
    watch: Stopwatch, calls: Calls, budget_s: float, *, cold: bool, now: Now = time.perf_counter_ns
) -> dict[str, list[int]]:
    """Nanoseconds of each party, in turn, until every median is settled or the time for all of them is spent."""
    for _ in range(WARM_UP):
        for call in calls.values():
            call()
    return settle(lambda count, left: watch.round(calls, count, left, cold), budget_s, now)


def timed(watch: Stopwatch, call: Callable[[], Any], budget_s: float, *, cold: bool = False) -> Median:
    """The median of one party."""
    return median(series(watch, {"": call}, budget_s, cold=cold)[""])
