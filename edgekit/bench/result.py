"""What one measurement leaves behind: plain, frozen, and ready for ``results.json``."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from edgekit.bench.power import Energy
from edgekit.bench.statistics import Histogram, Speedup, Statistics, Verdict


@dataclass(frozen=True)
class BenchResult:
    """Time and energy of one inference, with everything that a reader needs to believe them or not.

    Attributes:
        name: the artefact.
        runtime: what ran it.
        threads, batch: as timed; the times are of one call with the whole batch.
        statistics: percentiles and spread, in microseconds.
        histogram: bins for drawing.
        energy: millijoules of one call, or the reason why there is no figure.
        verdict: whether the number may be quoted.
        header: device, fingerprint, protocol and everything else that the number depends on.
        speedup: against another runner, measured in turn; None where none was asked for or a party is invalid.
        against: name of the other runner.
    """

    name: str
    runtime: str
    threads: int
    batch: int
    statistics: Statistics
    histogram: Histogram
    energy: Energy
    verdict: Verdict
    header: dict[str, Any]
    speedup: Speedup | None = None
    against: str | None = None

    @property
    def latency_us(self) -> dict[str, float]:
        """Microseconds of one call: ``p50`` to ``p99``, ``min``, ``max``, ``mean``."""
        stats = self.statistics
        percentiles = {f"p{p}": value for p, value in stats.percentiles_us.items()}
        return {**percentiles, "min": stats.min_us, "max": stats.max_us, "mean": stats.mean_us}

    @property
    def energy_mj(self) -> float | None:
        """Millijoules of one call, None where nothing was measured."""
        return self.energy.mj

    @property
    def energy_reason(self) -> str | None:
        """Why there is no energy figure."""
        return self.energy.reason

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values, units in the names, without NaN or infinity."""
        stats = self.statistics
        result = {
            "name": self.name,
            "runtime": self.runtime,
            "threads": self.threads,
            "batch": self.batch,
            "latency_us": self.latency_us,
            "n": stats.n,
            "seconds": stats.seconds,
            "cv": stats.cv,
            "spread": stats.spread,
            "histogram": asdict(self.histogram),
            "energy_mj": self.energy.mj,
            "energy_reason": self.energy.reason,
            "energy_source": self.energy.source,
            "verdict": self.verdict.level,
            "reasons": list(self.verdict.reasons),
            "protocol": self.verdict.protocol,
            "speedup": None if self.speedup is None else {**asdict(self.speedup), "against": self.against},
            "header": self.header,
        }
        return {key: _plain(value) for key, value in result.items()}

    def __str__(self) -> str:
        latency = self.latency_us
        energy = (
            f"{self.energy.mj:.3f} mJ" if self.energy.mj is not None else f"energy not measured: {self.energy.reason}"
        )
        lines = [
            f"{self.name} on {self.runtime}, {self.threads} thread(s), batch {self.batch}: "
            f"median {latency['p50']:.1f} us, p99 {latency['p99']:.1f} us, {energy}",
            f"{self.verdict.level} ({self.verdict.protocol}, n = {self.statistics.n})",
            *(f"  {reason}" for reason in self.verdict.reasons),
        ]
        return "\n".join([*lines, *self._compared()])

    def _compared(self) -> list[str]:
        if self.against is None:
            return []
        if self.speedup is None:
            return [f"not compared with {self.against}: one of the two series is invalid"]
        ratio = self.speedup
        return [
            f"{ratio.word}: {self.against} takes {ratio.ratio:.2f} times as long, {ratio.low:.2f} to {ratio.high:.2f}"
        ]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
