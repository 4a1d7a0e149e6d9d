"""Milliseconds and millijoules of an artefact, from one clock, with a verdict on every number.

The package can be called: ``edgekit.bench(runner)`` is :func:`bench`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from edgekit import device
from edgekit.bench import probe
from edgekit.bench.clock import Samples, interleave, measure
from edgekit.bench.conditions import changes, look
from edgekit.bench.power import EnergyWindow, NoRail, Rail, open_rail
from edgekit.bench.result import BenchResult
from edgekit.bench.statistics import Speedup, Statistics, Verdict, compare, histogram, judge, summarise
from edgekit.callable import make_callable
from edgekit.errors import UsageError
from edgekit.runtime import Runner

__all__ = ["BenchResult", "Samples", "Statistics", "Verdict", "bench", "interleave", "measure"]


def bench(
    runner: Runner,
    *,
    inputs: Sequence[NDArray[Any]] | None = None,
    seed: int = 0,
    warmup: int = 10,
    warmup_seconds: float = 0.5,
    min_samples: int = 100,
    min_seconds: float = 3.0,
    max_seconds: float = 60.0,
    against: Runner | None = None,
    rail: Rail | NoRail | None = None,
) -> BenchResult:
    """Measures one inference: latency in microseconds, energy in millijoules where a sensor sees it, and a verdict.

    What is timed is the runtime's own call; the checks of :meth:`Runner.run` are made once, before. Energy is read in
    the same window.

    Args:
        runner: the loaded artefact.
        inputs: one array for each input; values made from ``seed``, batch 1, if None.
        seed: of the inputs, where none are given.
        warmup: calls before the first timed one, at least.
        warmup_seconds: how long those calls go on, at least.
        min_samples: fewest samples of a valid number.
        min_seconds: shortest window of a valid number.
        max_seconds: where to stop even so.
        against: a second runner with the same inputs; the two are then timed in turn, once more, for ``speedup``.
        rail: the energy sensor; the one that sees the runner's device if None.

    Raises:
        DataError: the inputs do not fit the model.
        UsageError: samples or seconds out of range.
    """
    if warmup < 0 or min_samples < 1 or not 0 <= min_seconds <= max_seconds < math.inf:
        raise UsageError(
            f"{min_samples} samples in {min_seconds} to {max_seconds} s after {warmup} calls cannot be measured.",
            fix="Give at least one sample and finite times, the shortest not over the longest.",
        )
    arrays = tuple(inputs) if inputs is not None else probe.default_inputs(runner.inputs, seed=seed)
    call = runner.bind(*arrays)
    limits = {
        "warmup": warmup,
        "warmup_seconds": warmup_seconds,
        "min_samples": min_samples,
        "min_seconds": min_seconds,
        "max_seconds": max_seconds,
    }
    window = EnergyWindow(rail if rail is not None else open_rail(runner.device))
    before, found = probe.copies(call()), look()
    samples = measure(call, window=window, **limits)  # type: ignore[arg-type]
    found_after, after = look(), probe.copies(call())
    statistics = summarise(samples)
    findings = [*probe.faults(runner, arrays, before, after), *changes(found, found_after)]
    verdict = judge(statistics, findings)
    return BenchResult(
        name=runner.name,
        runtime=runner.runtime,
        threads=runner.threads,
        batch=_batch(arrays),
        statistics=statistics,
        histogram=histogram(samples),
        energy=window.energy(samples),
        verdict=verdict,
        header=_header(runner, samples, statistics, "given" if inputs is not None else f"synthetic, seed {seed}"),
        speedup=None
        if against is None or verdict.level == "invalid"
        else _speedup(call, against.bind(*arrays), limits),
        against=None if against is None else against.name,
    )


def _speedup(own: Callable[[], Any], other: Callable[[], Any], limits: dict[str, Any]) -> Speedup | None:
    """The ratio from interleaved calls; None where either series is invalid: an invalid number is not compared."""
    series = interleave({"own": own, "other": other}, **limits)
    if any(judge(summarise(samples)).level == "invalid" for samples in series.values()):
        return None
    return compare(series["own"].ns, series["other"].ns)


def _batch(arrays: Sequence[NDArray[Any]]) -> int:
    return int(arrays[0].shape[0]) if arrays and arrays[0].ndim else 1


def _header(runner: Runner, samples: Samples, statistics: Statistics, inputs: str) -> dict[str, Any]:
    """Everything that a time depends on and that a reader cannot see in it."""
    about = device.describe()
    return {
        "device": about["board"] or about["cpu"],
        "fingerprint": about["fingerprint"],
        "governor": about["governor"],
        "runtime": runner.runtime,
        "version": runner.version,
        "threads": runner.threads,
        "ran_on": runner.device,
        "inputs": inputs,
        "cuda_graph": "not applicable",
        "transfers": "outputs to host" if runner.device == "cuda" else "not applicable",
        "warmup": samples.warmup,
        "n": statistics.n,
        "seconds": statistics.seconds,
        "spread": statistics.spread,
        "clock": "time.perf_counter_ns",
        "clock_step_ns": samples.tick_ns,
    }


make_callable(__name__, bench)
