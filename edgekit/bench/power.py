"""Energy beside time: one window, one run, one clock; and where there is no sensor, the reason instead of a figure."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from edgekit.bench import nvml
from edgekit.bench.clock import Now, Samples
from edgekit.bench.rail import CounterRail, NoRail, Rail
from edgekit.bench.statistics import THRESHOLDS, Thresholds
from edgekit.errors import DeviceError

__all__ = ["RAILS", "CounterRail", "Energy", "EnergyWindow", "NoRail", "Rail", "open_rail"]

# Openers in the order in which they are tried: the sensor nearest to the silicon that computes comes first.
RAILS: tuple[Callable[[], Rail | NoRail], ...] = (nvml.open_rail,)


@dataclass(frozen=True)
class Energy:
    """Energy of one call, or why there is no figure; exactly one of ``mj`` and ``reason`` is set.

    Attributes:
        mj: millijoules of one call, everything on the rail included, idle power too.
        reason: why there is no figure.
        source: the sensor and how it was read.
    """

    mj: float | None = None
    reason: str | None = None
    source: str | None = None


def open_rail(device: str = "cpu", openers: tuple[Callable[[], Rail | NoRail], ...] | None = None) -> Rail | NoRail:
    """The first sensor that sees ``device`` at work, or the reason why there is none.

    Args:
        device: ``cpu`` or ``cuda``: a GPU's counter says nothing about a model that runs on the CPU beside it.
        openers: the sensors to try; :data:`RAILS` if None.
    """
    reasons = []
    for opener in RAILS if openers is None else openers:
        rail = opener()
        if isinstance(rail, NoRail):
            reasons.append(rail.reason)
        elif rail.covers in (device, "board"):
            return rail
        else:
            reasons.append(f"{rail.name} measures {rail.covers} only, and the model ran on {device}")
    return NoRail("; ".join(reasons) or "this machine has no energy sensor that edgekit can read")


class EnergyWindow:
    """A context for :func:`edgekit.bench.clock.measure` that reads a rail at both ends of the timed window.

    A sensor that fails costs the energy figure and leaves the times alone. The clock is read outside the sensor's
    calls, so a slow sensor shows as a window that is not the timed one.
    """

    def __init__(self, rail: Rail | NoRail, now: Now = time.perf_counter_ns) -> None:
        self.rail, self._now = rail, now
        self._start_ns = self._stop_ns = 0
        self._total_mj: float | None = None
        self._reason = rail.reason if isinstance(rail, NoRail) else None

    def __enter__(self) -> EnergyWindow:
        self._start_ns = self._now()
        if not isinstance(self.rail, NoRail):
            try:
                self.rail.start()
            except DeviceError as error:
                self._reason = error.what
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(self.rail, NoRail) and self._reason is None:
            try:
                self._total_mj = self.rail.stop()
            except DeviceError as error:
                self._reason = error.what
        self._stop_ns = self._now()

    def energy(self, samples: Samples, thresholds: Thresholds = THRESHOLDS) -> Energy:
        """Energy of one call of ``samples``; none if its window is too short or is not the window of this rail."""
        if self._total_mj is None or isinstance(self.rail, NoRail):
            return Energy(reason=self._reason or "the energy window was never closed")
        source = f"{self.rail.name}, {self.rail.source}, idle power included"
        skew = max(abs(samples.start_ns - self._start_ns), abs(samples.stop_ns - self._stop_ns)) / 1e9
        if skew > thresholds.energy_skew_s:
            return Energy(reason=f"energy and time were not read in the same window: {skew:.3f} s apart", source=source)
        if samples.seconds < thresholds.energy_seconds:
            needed = f"{thresholds.energy_seconds:g} s are needed"
            reason = f"a window of {samples.seconds:.2f} s is too short for the counter, {needed}"
            return Energy(reason=reason, source=source)
        return Energy(mj=self._total_mj / len(samples.ns), source=source)
