"""What an energy sensor is: a rail that is started, stopped, and then says how many millijoules went through it.

A new sensor is one file beside this one with an ``open_rail()`` and one entry in ``power.RAILS``. A sensor that counts
energy itself is a :class:`CounterRail`; one that reports power (INA3221) samples between ``start`` and ``stop``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edgekit.errors import DeviceError


class Rail(Protocol):
    """An energy sensor.

    Attributes:
        name: the sensor as a reader knows it, for example ``GPU 0 (NVIDIA H100)``.
        source: the call or file that is read.
        covers: what the figure includes: ``cpu``, ``cuda`` or ``board``.
    """

    name: str
    source: str
    covers: str

    def start(self) -> None:
        """Begins the window. Raises DeviceError if the sensor cannot be read."""

    def stop(self) -> float:
        """Ends the window and returns its energy in millijoules. Raises DeviceError if there is no honest figure."""


@dataclass(frozen=True)
class NoRail:
    """There is no sensor, and why."""

    reason: str


class CounterRail:
    """A rail whose sensor counts energy by itself; the figure is the difference of two readings.

    Args:
        name, source, covers: see :class:`Rail`.
        read: the counter in millijoules. Raises DeviceError if it cannot be read.
        wraps_at_mj: where the counter starts again from 0; None if it never does.
    """

    def __init__(
        self, name: str, source: str, covers: str, read: Callable[[], float], wraps_at_mj: float | None = None
    ) -> None:
        self.name, self.source, self.covers = name, source, covers
        self._read, self._wraps_at_mj = read, wraps_at_mj
        self._before: float | None = None

    def start(self) -> None:
        """Takes the first reading."""
        self._before = self._read()

    def stop(self) -> float:
        """Takes the second reading.

        Raises:
            DeviceError: the counter went backwards or stood still.
        """
        after, before, self._before = self._read(), self._before, None
        if before is None:
            raise DeviceError(f"the energy window of {self.name} was never started.")
        if after < before and self._wraps_at_mj is not None:
            after += self._wraps_at_mj
        if after < before:
            raise DeviceError(f"the energy counter of {self.name} went backwards, from {before:g} to {after:g} mJ.")
        if after == before:
            raise DeviceError(f"the energy counter of {self.name} did not move while the model ran.")
        return after - before
