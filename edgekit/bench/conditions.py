"""The state of the machine around a measurement: throttling, CPU clock, governor, and what other processes used."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from edgekit.bench.statistics import THRESHOLDS, Finding, Thresholds
from edgekit.device import ROOT, read_line

SHORTEST_WINDOW_S = 0.5  # the kernel counts CPU time in steps of 10 ms


@dataclass(frozen=True)
class Conditions:
    """One look at the machine; None where the kernel does not say.

    Attributes:
        at_s: when, on the monotonic clock.
        busy_s: CPU seconds that the whole machine has spent working since it started.
        own_s: CPU seconds of this process.
        throttles: times that core 0 was slowed for heat.
        frequency_khz: clock of core 0 at this moment.
        governor: the kernel's frequency policy.
    """

    at_s: float
    own_s: float
    busy_s: float | None = None
    throttles: int | None = None
    frequency_khz: int | None = None
    governor: str | None = None


def look(root: Path = ROOT) -> Conditions:
    """Reads the conditions of this moment; ``root`` holds ``proc`` and ``sys``."""
    cpu = root / "sys/devices/system/cpu/cpu0"
    used = os.times()
    return Conditions(
        at_s=time.monotonic(),
        own_s=used.user + used.system,
        busy_s=_busy_seconds(root),
        throttles=_integer(cpu / "thermal_throttle/core_throttle_count"),
        frequency_khz=_integer(cpu / "cpufreq/scaling_cur_freq"),
        governor=read_line(cpu / "cpufreq/scaling_governor"),
    )


def changes(before: Conditions, after: Conditions, thresholds: Thresholds = THRESHOLDS) -> tuple[Finding, ...]:
    """What happened between two looks that speaks against the numbers taken between them."""
    reasons = (
        _throttled(before, after),
        _clock_moved(before, after, thresholds),
        _governor(before, after),
        _foreign_load(before, after, thresholds),
    )
    return tuple(Finding("warn", reason) for reason in reasons if reason)


def _throttled(before: Conditions, after: Conditions) -> str | None:
    if before.throttles is None or after.throttles is None or after.throttles <= before.throttles:
        return None
    return f"the CPU was throttled for heat {after.throttles - before.throttles} times"


def _clock_moved(before: Conditions, after: Conditions, thresholds: Thresholds) -> str | None:
    if not before.frequency_khz or not after.frequency_khz:
        return None
    change = after.frequency_khz / before.frequency_khz - 1
    return f"the CPU clock moved by {change:+.1%}" if abs(change) > thresholds.frequency else None


def _governor(before: Conditions, after: Conditions) -> str | None:
    if before.governor != after.governor:
        return f"the frequency governor changed from {before.governor} to {after.governor}"
    if after.governor is None or after.governor == "performance":
        return None
    return f"the frequency governor is {after.governor}, not performance"


def _foreign_load(before: Conditions, after: Conditions, thresholds: Thresholds) -> str | None:
    seconds = after.at_s - before.at_s
    if before.busy_s is None or after.busy_s is None or seconds < SHORTEST_WINDOW_S:
        return None
    cores = ((after.busy_s - before.busy_s) - (after.own_s - before.own_s)) / seconds
    return f"other processes used {cores:.2f} cores" if cores > thresholds.foreign_cores else None


def _busy_seconds(root: Path) -> float | None:
    """User, nice, system, interrupts and stolen time of the first line of ``/proc/stat``; idle and waiting left out."""
    words = (read_line(root / "proc/stat") or "").split()
    if len(words) < 8 or words[0] != "cpu" or not all(word.isdigit() for word in words[1:]):
        return None
    user, nice, system, _idle, _iowait, *interrupts_and_steal = map(int, words[1:9])
    return (user + nice + system + sum(interrupts_and_steal)) / os.sysconf("SC_CLK_TCK")


def _integer(path: Path) -> int | None:
    line = read_line(path)
    return int(line) if line is not None and line.isdigit() else None
