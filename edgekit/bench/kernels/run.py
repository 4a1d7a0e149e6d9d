"""The benchmark of one kernel: check, then time all tiers of a device in turn, warm and cold caches.

What is timed is the whole call: on the processor checks, layout and packing of weights, as a caller from Python pays
for them; on a GPU the kernels alone. ``benchmarks/kernels_cpu.py`` has the clock around the C++ kernels themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from edgekit import device, disk
from edgekit.bench.kernels import peak, shapes, verdict
from edgekit.bench.kernels.plot import svg
from edgekit.bench.kernels.result import Base, KernelBench, Row, State, read_base
from edgekit.bench.kernels.series import Median, median
from edgekit.bench.kernels.stopwatch import STATES, Stopwatch, series, stopwatch
from edgekit.bench.kernels.subject import Subject, differs, poisoned_memory, subjects
from edgekit.errors import UsageError

COPY_SHARE = 0.25  # of a median's time that the copy beside it may take

Watch = Callable[[str], Stopwatch]


def bench(
    kernel: str,
    *,
    sizes: Sequence[str] = (),
    tiers: Sequence[str] = (),
    base: str | None = None,
    budget_s: float = 2.0,
    watch: Watch = stopwatch,
) -> KernelBench:
    """Time a kernel on every tier of this machine; what differs from the reference is not timed.

    A median is sampled until the interval around it is below one percent on either side, or its time is spent; then
    nothing that rests on it is more than ``UNSURE``.

    Args:
        kernel: an operator of :data:`edgekit.ops.OPS`, or ``FILE.py:FUNCTION`` (:mod:`edgekit.bench.kernels.subject`
            says what the file defines).
        sizes: shapes such as ``128x256x256``; the operator's own layer-sized cases where empty.
        tiers: what to time; all that this machine has where empty.
        base: the JSON of an earlier run on this machine, or a tier, which is then timed in turn with the others.
        budget_s: seconds for the median of one tier in one state of the caches, at most.
        watch: gives the clock of ``cpu`` or ``cuda``.

    Raises:
        UsageError: no such kernel, tier, shape or base.
        MissingDependency: a tier that was asked for does not run here.
        InputError: a file of the user's own, or the base, cannot be used.
    """
    if not 0 < budget_s < float("inf"):
        raise UsageError(f"a median cannot take {budget_s} s.", fix="Give a time above zero.")
    machine = describe()
    earlier = read_base(Path(base), machine) if base is not None and base.endswith(".json") else None
    tier = base if earlier is None else None
    rows: list[Row] = []
    with one_thread():
        for subject in subjects(kernel, shapes.parse(sizes), tiers, tier):
            rows += measure(subject, watch, budget_s, tier, earlier)
        devices = dict.fromkeys(row.device for row in rows if row.status == "ok")
        peaks = tuple(rate for name in devices for rate in peak.of_device(name))
    return KernelBench(machine, peaks, budget_s, tuple(rows))


def save(found: KernelBench, folder: Path) -> tuple[Path, Path]:
    """Write ``kernels-NAME.json`` and ``kernels-NAME.svg`` into a folder, which is made if it is not there.

    Raises:
        OutputError: the folder cannot be written.
    """
    names = dict.fromkeys(row.kernel for row in found.rows)
    stem = "kernels-" + re.sub(r"\W+", "_", "-".join(names) or "none").strip("_")
    disk.make_directory(folder)
    content = json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n"
    files = folder / f"{stem}.json", folder / f"{stem}.svg"
    for file, text in zip(files, (content, svg(found)), strict=True):
        disk.write_file(file, text.encode())
    return files


def describe() -> dict[str, Any]:
    """What this machine is, its GPU included, as plain JSON values."""
    return {**device.describe(), "gpu": gpu()}


def gpu() -> dict[str, Any] | None:
    """The current CUDA device; None where there is none."""
    if not torch.cuda.is_available():
        return None
    found = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "name": found.name,
        "compute_capability": f"{found.major}.{found.minor}",
        "multiprocessors": found.multi_processor_count,
        "memory_bytes": found.total_memory,
        "l2_bytes": getattr(found, "L2_cache_size", None),
        "cuda": torch.version.cuda,
    }


def measure(
    subject: Subject, watch: Watch, budget_s: float, tier: str | None = None, earlier: Base | None = None
) -> list[Row]:
    """Check and time the parties of a subject; one row for each, whatever became of it.

    Args:
        tier: the party that the others are held against.
        earlier: the run that all are held against.
    """
    row = partial(Row, subject.kernel, subject.case)
    rows = [row(name, subject.device, f"not measured: {reason}") for name, reason in subject.missing.items()]
    wrong = {name: reason for name, call in subject.calls.items() if (reason := check(subject, call))}
    right = {name: call for name, call in subject.calls.items() if name not in wrong}
    states: dict[str, dict[str, State]] = {name: {} for name in right}
    if right:
        clock = watch(subject.device)
        for state in STATES:
            for name, found in _state(subject, right, clock, budget_s, state, tier, earlier).items():
                states[name][state] = found
    wrong |= {name: f"after it was timed: {reason}" for name in right if (reason := check(subject, right[name]))}
    rows += [row(name, subject.device, f"wrong: {reason}") for name, reason in wrong.items()]
    rows += [row(name, subject.device, "ok", states[name]) for name in right if name not in wrong]
    return rows


def check(subject: Subject, call: Callable[[], Any]) -> str:
    """How one call differs from the reference; empty where it does not."""
    with poisoned_memory():
        return differs(subject.called(call), subject.want, subject.tolerance)


def _state(
    subject: Subject,
    calls: Mapping[str, Callable[[], Any]],
    clock: Stopwatch,
    budget_s: float,
    state: str,
    tier: str | None,
    earlier: Base | None,
) -> dict[str, State]:
    cold = state == "cold"
    taken = series(clock, calls, budget_s * len(calls), cold=cold)
    cost, copy_us = subject.cost, None
    if cost is not None and cost.bytes:
        copy_us = peak.copy_us(clock, cost.bytes, COPY_SHARE * budget_s, cold=cold)
    medians, found = {name: median(ns) for name, ns in taken.items()}, {}
    for name, one in medians.items():
        judged = None
        if tier is not None and name != tier and tier in taken:
            judged = verdict.in_turn(taken[name], taken[tier], one, medians[tier], tier)
        key = (subject.kernel, subject.case, name, state)
        if earlier is not None and key in earlier.medians:
            judged = verdict.between_runs(one, earlier.medians[key], earlier.name)
        found[name] = replace(_worked(subject, name, one, copy_us), verdict=judged)
    return found


def _worked(subject: Subject, name: str, one: Median, copy_us: float | None) -> State:
    cost, seconds = subject.cost, one.us / 1e6
    if cost is None or not seconds:
        return State(one)
    rate = cost.macs / seconds if cost.macs else None
    limit = None
    if rate is not None and subject.operands:
        limit = peak.best(peak.of_device(subject.device), subject.device, subject.operands, name)
    return State(
        median=one,
        gmacs_per_s=None if rate is None else rate / 1e9,
        gb_per_s=cost.bytes / seconds / 1e9 if cost.bytes else None,
        of_peak=rate / limit if rate is not None and limit else None,
        of_copy=copy_us / one.us if copy_us is not None else None,
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """The kernels of edgekit run on one thread, and so does what is timed beside them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
