"""What a benchmark of kernels leaves behind: rows with both states of the caches, and where they were measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgekit.bench.kernels.peak import Rate
from edgekit.bench.kernels.series import Median
from edgekit.bench.kernels.verdict import Verdict
from edgekit.errors import InputError, UsageError

SCHEMA = 1
BENCHMARK = "kernels"
CALLS = "cpu: one thread; times are of whole calls from Python, in which weights are laid out and packed each time."


@dataclass(frozen=True)
class State:
    """One state of the caches.

    Attributes:
        median: of the time of one call.
        gmacs_per_s, gb_per_s: work of the call over the median; None where it is not known or there is none.
        of_peak: of the measured arithmetic peak.
        of_copy: of the rate at which as many bytes are copied in the same state of the caches.
        verdict: against the base, where there is one.
    """

    median: Median
    gmacs_per_s: float | None = None
    gb_per_s: float | None = None
    of_peak: float | None = None
    of_copy: float | None = None
    verdict: Verdict | None = None

    def to_json(self) -> dict[str, Any]:
        """The state as plain JSON values."""
        median = {**asdict(self.median), "half_width": self.median.half_width}
        return {**median, **{key: value for key, value in asdict(self).items() if key != "median"}}


@dataclass(frozen=True)
class Row:
    """One kernel, case and tier.

    Attributes:
        status: ``ok``, or ``wrong`` or ``not measured`` with the reason behind a colon.
        states: ``warm`` and ``cold``; empty where nothing was timed.
    """

    kernel: str
    case: str
    tier: str
    device: str
    status: str
    states: Mapping[str, State] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str]:
        """What is the same in two runs."""
        return self.kernel, self.case, self.tier

    def to_json(self) -> dict[str, Any]:
        """The row as plain JSON values."""
        states = {name: state.to_json() for name, state in self.states.items()}
        return {**{key: value for key, value in vars(self).items() if key != "states"}, "states": states}


@dataclass(frozen=True)
class KernelBench:
    """All rows of one benchmark.

    Attributes:
        machine: :func:`edgekit.device.describe`, and ``gpu`` with what torch says of it.
        peaks: limits that the rows are held against.
        budget_s: seconds that one median might take.
        rows: in the order in which they were measured.
    """

    machine: Mapping[str, Any]
    peaks: tuple[Rate, ...]
    budget_s: float
    rows: tuple[Row, ...]

    @property
    def wrong(self) -> tuple[Row, ...]:
        """The rows that do not compute what the reference does."""
        return tuple(row for row in self.rows if row.status.startswith("wrong"))

    def to_json(self) -> dict[str, Any]:
        """The benchmark as plain JSON values, without NaN or infinity; units are in the names."""
        return {
            "schema": SCHEMA,
            "benchmark": BENCHMARK,
            "machine": dict(self.machine),
            "budget_s": self.budget_s,
            "peaks": [rate.to_json() for rate in self.peaks],
            "rows": [row.to_json() for row in self.rows],
        }

    def __str__(self) -> str:
        gpu = self.machine["gpu"]
        where = f"{self.machine['cpu']}, GPU {gpu['name'] if gpu else 'none'}, {self.machine['fingerprint']}"
        lines = [where, *(str(rate) for rate in self.peaks), HEADER, *map(line, self.rows)]
        return "\n".join([*lines, CALLS] if any(row.states and row.device == "cpu" for row in self.rows) else lines)


HEADER = (
    f"{'tier':10} {'case':28} {'warm us':>10} {'+-':>6} {'cold us':>10} {'+-':>6} {'GMAC/s':>8} {'of peak':>7}"
    f" {'GB/s':>7} {'of copy':>7} {'cold':>5}  warm / cold against the base"
)


def line(row: Row) -> str:
    """A row as text."""
    name = f"{row.tier:10} {row.case[:28]:28}"
    if row.status != "ok":
        return f"{name} {row.status}"
    warm, cold = row.states["warm"], row.states["cold"]
    times = " ".join(f"{s.median.us:10.2f} {s.median.half_width:6.1%}" for s in (warm, cold))
    work = f"{_plain(warm.gmacs_per_s, 8)} {_share(warm.of_peak, 7)} {_plain(warm.gb_per_s, 7)}"
    verdicts = " / ".join(map(_said, (warm, cold)))
    return f"{name} {times} {work} {_share(warm.of_copy, 7)} {_share(cold.of_copy, 5)}  {verdicts}"


def _said(state: State) -> str:
    if state.verdict is None:
        return "-" if state.median.settled else "UNSURE"
    return f"{state.verdict.word} {state.verdict.ratio:.2f}x"


def _plain(value: float | None, width: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.2f}"


def _share(value: float | None, width: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.0%}"


@dataclass(frozen=True)
class Base:
    """An earlier run.

    Attributes:
        name: of its file.
        machine: where it ran.
        medians: by kernel, case, tier and state.
    """

    name: str
    machine: Mapping[str, Any]
    medians: Mapping[tuple[str, str, str, str], Median]


def read_base(path: Path, machine: Mapping[str, Any]) -> Base:
    """An earlier run on the same machine.

    Raises:
        InputError: the file is not there, or holds no such run.
        UsageError: it was measured on another machine, so times cannot be compared.
    """
    try:
        content = json.loads(path.read_bytes())
        if (content["schema"], content["benchmark"]) != (SCHEMA, BENCHMARK):
            raise KeyError("schema")
        base = Base(path.name, content["machine"], dict(_medians(content["rows"])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}."
        fix = "Give the JSON file that `edgekit kernels bench -o DIR` wrote."
        raise InputError(f"{path} holds no benchmark of kernels.", why, fix) from error
    if identity(base.machine) != identity(machine):
        raise UsageError(
            f"{path} was measured on another machine ({' '.join(map(str, identity(base.machine)))}).",
            fix="Run the base here, or give a tier as the base.",
        )
    return base


def identity(machine: Mapping[str, Any]) -> tuple[Any, Any]:
    """What has to be equal where times are compared."""
    gpu = machine.get("gpu")
    return machine.get("fingerprint"), gpu["name"] if gpu else None


def _medians(rows: list[dict[str, Any]]) -> Iterator[tuple[tuple[str, str, str, str], Median]]:
    for row in rows:
        for state, found in row["states"].items():
            values = {name: found[name] for name in Median.__dataclass_fields__}
            yield (row["kernel"], row["case"], row["tier"], state), Median(**values)
