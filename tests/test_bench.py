"""The clock, the statistics, every rule of the verdict, and the whole measurement on made-up and real runners."""

import gc
import inspect
import json
import statistics as stdlib_statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgekit.bench
from edgekit.bench import BenchResult, Samples, bench, interleave, measure, probe
from edgekit.bench.conditions import Conditions, changes, look
from edgekit.bench.rail import NoRail
from edgekit.bench.statistics import (
    THRESHOLDS,
    Finding,
    Statistics,
    compare,
    histogram,
    judge,
    summarise,
)
from edgekit.errors import DataError
from edgekit.runtime import Outputs, Runner, TensorInfo

MS = 1_000_000
SECOND = 1_000 * MS


class FakeClock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.ns = 5 * SECOND

    def __call__(self) -> int:
        return self.ns

    def takes(self, *durations_ns: int) -> Callable[[], None]:
        """A function whose calls last the given times, round and round."""
        count = iter(range(10**9))

        def fn() -> None:
            self.ns += durations_ns[next(count) % len(durations_ns)]

        return fn


class FakeRunner(Runner):
    """A model of one input and one output that computes ``function`` and moves a clock."""

    runtime, version = "fake", "1"

    def __init__(self, function: Callable[[Any], Any], name: str = "fake", dtype: str = "float32") -> None:
        super().__init__(name, 1, (TensorInfo("x", (None, 4), np.dtype(dtype)),), ())
        self.function, self.calls = function, 0

    def _bind(self, arrays: tuple[Any, ...]) -> Callable[[], Outputs]:
        def call() -> Outputs:
            self.calls += 1
            result = self.function(*arrays)
            return result if isinstance(result, tuple) else (result,)

        return call


def series(ns: Any, seconds: float = 100.0, tick_ns: int = 0) -> Samples:
    return Samples(tuple(int(value) for value in ns), 0, int(seconds * SECOND), tick_ns)


def quiet_series(n: int = 2000, seed: int = 0, cv: float = 0.01, mean_us: float = 1000.0) -> Samples:
    return series(np.random.default_rng(seed).normal(mean_us * 1e3, cv * mean_us * 1e3, n))


# The clock


def test_a_fake_clock_gives_exact_samples() -> None:
    clock = FakeClock()
    samples = measure(clock.takes(1 * MS, 2 * MS, 3 * MS), warmup=3, min_samples=6, now=clock)
    assert samples.ns == (1 * MS, 2 * MS, 3 * MS) * 2
    assert samples.seconds == 0.012
    assert samples.warmup == 3
    assert samples.start_ns == 5 * SECOND + 6 * MS, "warm-up lies before the window"


def test_it_warms_up_for_a_number_of_calls_and_a_time() -> None:
    clock = FakeClock()
    samples = measure(clock.takes(10 * MS), warmup=3, warmup_seconds=0.5, min_samples=6, now=clock)
    assert samples.warmup == 50
    assert samples.start_ns == 5 * SECOND + 500 * MS
    assert measure(clock.takes(SECOND), warmup=3, warmup_seconds=0.5, min_samples=1, now=clock).warmup == 3


def test_it_goes_on_until_the_window_is_long_enough() -> None:
    clock = FakeClock()
    assert len(measure(clock.takes(10 * MS), warmup=0, min_samples=5, min_seconds=1.0, now=clock).ns) == 100


def test_it_stops_at_the_limit_with_what_it_has() -> None:
    clock = FakeClock()
    assert len(measure(clock.takes(SECOND), warmup=0, min_samples=100, max_seconds=3.0, now=clock).ns) == 3
    assert len(measure(clock.takes(9 * SECOND), warmup=0, min_samples=100, max_seconds=3.0, now=clock).ns) == 1


def test_interleaved_calls_take_turns() -> None:
    order: list[str] = []
    clock = FakeClock()
    a, b = clock.takes(1 * MS), clock.takes(3 * MS)
    fns = {"a": lambda: (order.append("a"), a()), "b": lambda: (order.append("b"), b())}
    samples = interleave(fns, warmup=0, min_samples=4, now=clock)
    assert order == ["a", "b"] * 4
    assert samples["a"].ns == (1 * MS,) * 4
    assert samples["b"].ns == (3 * MS,) * 4
    assert interleave({}) == {}


def test_the_collector_waits_outside_and_comes_back() -> None:
    seen: list[bool] = []
    measure(lambda: seen.append(gc.isenabled()), warmup=0, min_samples=3)
    assert seen == [False] * 3
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        measure(lambda: 1 // 0, warmup=0)
    assert gc.isenabled()


def test_the_real_clock_ticks() -> None:
    samples = measure(lambda: None, warmup=1, min_samples=10)
    assert samples.tick_ns > 0
    assert samples.stop_ns - samples.start_ns >= sum(samples.ns)


# Statistics


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 10**9), min_size=2, max_size=300))
def test_statistics_agree_with_the_standard_library(ns: list[int]) -> None:
    stats = summarise(series(ns))
    us = [value / 1e3 for value in ns]
    assert stats.percentiles_us[50] == pytest.approx(stdlib_statistics.median(us))
    cuts = stdlib_statistics.quantiles(us, n=100, method="inclusive")
    for p in (90, 95, 99):
        assert stats.percentiles_us[p] == pytest.approx(cuts[p - 1])
    assert stats.mean_us == pytest.approx(stdlib_statistics.fmean(us))
    assert stats.cv == pytest.approx(stdlib_statistics.pstdev(us) / stdlib_statistics.fmean(us), abs=1e-9)
    assert (stats.min_us, stats.max_us, stats.n) == (min(us), max(us), len(us))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 10**7), min_size=1, max_size=300))
def test_the_histogram_loses_no_sample(ns: list[int]) -> None:
    bins = histogram(series(ns))
    assert sum(bins.counts) + bins.above == len(ns)
    assert len(bins.edges_us) == len(bins.counts) + 1
    assert bins.above <= len(ns) * 0.01 + 1
    assert all(a < b for a, b in zip(bins.edges_us, bins.edges_us[1:], strict=False))


# The verdict: one bad series for each rule, and none of them on a quiet one

GOOD = summarise(quiet_series())


def test_a_quiet_long_series_is_valid() -> None:
    verdict = judge(GOOD)
    assert (verdict.level, verdict.reasons, verdict.protocol) == ("valid", (), "full")


@pytest.mark.parametrize(
    ("change", "level", "word"),
    [
        ({"min_us": 0.0}, "invalid", "no time at all"),
        ({"n": 99}, "invalid", "99 samples"),
        ({"seconds": 2.99}, "invalid", "window of 2.99 s"),
        ({"spread": 0.5001}, "invalid", "middle half"),
        ({"cv": 0.0251}, "warn", "unstable"),
        ({"drift": -0.021}, "warn", "drifting"),
        ({"modes": 2}, "warn", "two modes"),
        ({"tick": 0.011}, "warn", "step of the clock"),
    ],
)
def test_each_rule_fires_alone(change: dict[str, Any], level: str, word: str) -> None:
    verdict = judge(replace(GOOD, **change))
    assert verdict.level == level
    assert len(verdict.reasons) == 1
    assert word in verdict.reasons[0]


def test_at_the_bound_no_rule_fires() -> None:
    limit = THRESHOLDS
    at = {"n": limit.quick_samples, "seconds": limit.quick_seconds, "cv": limit.cv, "drift": limit.drift}
    verdict = judge(replace(GOOD, **at, tick=limit.tick_share, spread=limit.spread))  # type: ignore[arg-type]
    assert verdict.level == "valid"
    assert verdict.protocol == "quick"


def test_the_worst_level_wins_and_every_reason_is_kept() -> None:
    verdict = judge(replace(GOOD, cv=0.5), [Finding("invalid", "broken"), Finding("warn", "hot")])
    assert verdict.level == "invalid"
    assert verdict.reasons[1:] == ("broken", "hot")


@pytest.mark.parametrize("change", [{"n": 1023}, {"seconds": 59.9}])
def test_less_than_the_full_protocol_is_labelled_quick(change: dict[str, Any]) -> None:
    assert judge(replace(GOOD, **change)).protocol == "quick"


def test_drift_is_seen_and_noise_is_not_drift() -> None:
    rising = np.linspace(1e6, 1.1e6, 400) * np.random.default_rng(1).normal(1, 0.005, 400)
    assert summarise(series(rising)).drift == pytest.approx(0.071, abs=0.01)
    assert all(summarise(quiet_series(400, seed, cv=0.05)).drift == 0 for seed in range(20))


def test_two_modes_are_seen_and_one_wide_mode_is_not() -> None:
    draw = np.random.default_rng(2)
    two = np.concatenate([draw.normal(1e6, 1e4, 300), draw.normal(1.3e6, 1e4, 100)])
    draw.shuffle(two)
    assert summarise(series(two)).modes == 2
    assert summarise(series([1000, 2000] * 50)).modes == 2
    one = (draw.normal(1e6, 1e5, 500), 1e6 + draw.exponential(2e5, 500), draw.uniform(1e6, 2e6, 500), np.full(500, 1e6))
    assert [summarise(series(values)).modes for values in one] == [1] * 4
    outliers = np.concatenate([draw.normal(1e6, 1e4, 480), draw.normal(3e6, 1e4, 20)])
    assert summarise(series(outliers)).modes == 1, "one call in twenty-five is an outlier, not a mode"


def test_series_of_a_calm_machine_pass_two_hundred_times() -> None:
    verdicts = [judge(summarise(quiet_series(seed=seed, n=1100))) for seed in range(200)]
    assert sum(verdict.level != "valid" for verdict in verdicts) <= 2


# Ratios


def noisy_pair(seed: int, factor: float, n: int = 400) -> tuple[Any, Any]:
    """Two interleaved series on a machine whose speed wanders, with a heavy tail of interruptions."""
    draw = np.random.default_rng(seed)
    wander = 1 + 0.1 * np.sin(np.linspace(0, 6, n)) + 0.02 * draw.standard_normal(n)
    own, other = (1e5 * wander * draw.normal(1, 0.03, n) * (1 + 5 * (draw.random(n) < 0.02)) for _ in range(2))
    return own.astype(int), (other * factor).astype(int)


def test_a_against_a_is_not_called_faster_or_slower() -> None:
    words = [compare(*noisy_pair(seed, 1.0)).word for seed in range(200)]
    assert sum(word != "ambiguous" for word in words) <= 2


def test_five_percent_are_found() -> None:
    words = [compare(*noisy_pair(seed, 1.05)).word for seed in range(200)]
    assert words.count("faster") >= 190
    assert words.count("slower") == 0
    assert sum(compare(*noisy_pair(seed, 1 / 1.05)).word == "slower" for seed in range(200)) >= 190


def test_the_interval_holds_the_ratio() -> None:
    found = [compare(*noisy_pair(seed, 2.0)) for seed in range(100)]
    assert sum(not speedup.low <= 2.0 <= speedup.high for speedup in found) <= 1
    assert all(speedup.low <= speedup.ratio <= speedup.high for speedup in found)


def test_a_tiny_difference_is_none_however_sure_it_is() -> None:
    own = np.random.default_rng(0).normal(1e6, 1e3, 10_000).astype(int)
    assert compare(own, (own * 1.005).astype(int)).word == "ambiguous"
    assert compare(own, (own * 1.02).astype(int)).word == "faster"
    assert compare(own, (own / 1.02).astype(int)).word == "slower"


def test_too_few_pairs_have_no_interval() -> None:
    speedup = compare([10] * 5, [20] * 5)
    assert (speedup.ratio, speedup.word, speedup.low) == (2.0, "ambiguous", 0.0)


def test_the_rank_of_the_interval_is_the_sign_tests() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    from edgekit.bench.statistics import sign_rank

    for n in (1, 10, 11, 12, 100, 1000, 5001):
        rank = sign_rank(n, 0.001)
        below = -1 if rank is None else rank
        assert scipy_stats.binom.cdf(below, n, 0.5) <= 0.0005 < scipy_stats.binom.cdf(below + 1, n, 0.5)


# Conditions of the machine

CALM = Conditions(at_s=0.0, own_s=1.0, busy_s=10.0, throttles=3, frequency_khz=2_000_000, governor="performance")
AFTER = replace(CALM, at_s=10.0, own_s=11.0, busy_s=20.5)


def test_a_calm_machine_has_nothing_to_report() -> None:
    assert changes(CALM, AFTER) == ()
    unknown = Conditions(at_s=0.0, own_s=0.0)
    assert changes(unknown, replace(unknown, at_s=10.0)) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"throttles": 5}, "throttled for heat 2 times"),
        ({"frequency_khz": 1_900_000}, "clock moved by -5.0%"),
        ({"governor": "powersave"}, "changed from performance to powersave"),
        ({"busy_s": 25.0}, "other processes used 0.50 cores"),
    ],
)
def test_each_disturbance_is_named(change: dict[str, Any], words: str) -> None:
    (finding,) = changes(CALM, replace(AFTER, **change))
    assert finding.level == "warn"
    assert words in finding.reason


def test_a_saving_governor_is_named() -> None:
    saving = [replace(look, governor="schedutil") for look in (CALM, AFTER)]
    assert [finding.reason for finding in changes(*saving)] == ["the frequency governor is schedutil, not performance"]


def test_the_kernels_files_are_read(tmp_path: Path) -> None:
    cpu = tmp_path / "sys/devices/system/cpu/cpu0"
    (cpu / "thermal_throttle").mkdir(parents=True)
    (cpu / "cpufreq").mkdir()
    (cpu / "thermal_throttle/core_throttle_count").write_text("7\n")
    (cpu / "cpufreq/scaling_cur_freq").write_text("1500000\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text("cpu  100 0 50 9000 70 1 2 47 0 0\ncpu0 1 1 1 1\n")
    seen = look(tmp_path)
    assert (seen.throttles, seen.frequency_khz, seen.governor) == (7, 1_500_000, None)
    assert seen.busy_s == pytest.approx(2.0), "user, system, interrupts and stolen time; 100 ticks a second"
    (tmp_path / "proc/stat").write_text("cpu  lots of it\n")
    assert look(tmp_path).busy_s is None


# What is timed must compute

X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


def faults_of(function: Callable[[Any], Any]) -> list[tuple[str, str]]:
    runner = FakeRunner(function)
    outputs = probe.copies(runner.run(X))
    return [(found.level, found.reason) for found in probe.faults(runner, (X,), outputs, probe.copies(runner.run(X)))]


def test_an_honest_model_has_no_fault() -> None:
    assert faults_of(lambda x: x * 2) == []


def test_a_model_that_does_nothing_is_caught() -> None:
    (fault,) = faults_of(lambda x: np.ones(3, np.float32))
    assert fault == ("invalid", "the outputs do not depend on the input: nothing seems to be computed")
    (label,) = faults_of(lambda x: np.array([7]))
    assert label[0] == "warn", "a classifier may repeat a label"
    assert faults_of(lambda x: ()) == [("invalid", "the model gives no output")]


def test_a_broken_model_is_caught() -> None:
    assert ("invalid", "an output holds NaN or infinite values") in faults_of(lambda x: np.where(x > 0, np.inf, x))
    state = iter(range(100))
    reasons = [reason for _, reason in faults_of(lambda x: x + next(state))]
    assert reasons == ["the outputs before and after timing differ"]


def test_a_runner_that_reuses_its_buffer_is_compared_by_value() -> None:
    buffer = np.zeros((2, 4), np.float32)

    def into_buffer(x: Any) -> Any:
        np.multiply(x, 3, out=buffer[: len(x)])
        return buffer

    assert faults_of(into_buffer) == []


# The whole measurement


def quick(runner: Runner, **options: Any) -> BenchResult:
    return bench(
        runner,
        **{
            "min_samples": 120,
            "min_seconds": 0.0,
            "warmup_seconds": 0.0,
            "rail": NoRail("no sensor in tests"),
            **options,
        },
    )


def test_a_result_says_everything_and_is_json() -> None:
    result = quick(FakeRunner(lambda x: x + 1, name="plus-one"), inputs=[X], warmup=4)
    data = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert (data["name"], data["runtime"], data["threads"], data["batch"]) == ("plus-one", "fake", 1, 2)
    latency = data["latency_us"]
    assert latency["min"] <= latency["p50"] <= latency["p90"] <= latency["p95"] <= latency["p99"] <= latency["max"]
    assert data["n"] == 120
    assert sum(data["histogram"]["counts"]) + data["histogram"]["above"] == 120
    assert (data["energy_mj"], data["energy_reason"]) == (None, "no sensor in tests")
    assert (data["verdict"], data["protocol"]) == ("invalid", "quick")
    assert any("at least 3 s" in reason for reason in data["reasons"])
    header = data["header"]
    assert {"device", "threads", "cuda_graph", "transfers", "warmup", "n", "spread", "fingerprint"} <= set(header)
    assert (header["warmup"], header["inputs"]) == (4, "given")
    assert "invalid (quick, n = 120)" in str(result)


def test_without_inputs_it_makes_the_same_ones_every_time() -> None:
    seen: list[bytes] = []
    for _ in range(2):
        result = quick(FakeRunner(lambda x: (seen.append(x.tobytes()), x * 2)[1]))
        assert result.header["inputs"] == "synthetic, seed 0"
        assert result.batch == 1
    assert seen[0] == seen[len(seen) // 2]


def test_a_no_op_is_struck_out() -> None:
    result = quick(FakeRunner(lambda x: np.zeros(3, np.float32)))
    assert result.verdict.level == "invalid"
    assert any("nothing seems to be computed" in reason for reason in result.verdict.reasons)


def test_inputs_are_checked_before_anything_runs() -> None:
    runner = FakeRunner(lambda x: x)
    with pytest.raises(DataError, match="input x is float64"):
        bench(runner, inputs=[X.astype(np.float64)])
    assert runner.calls == 0


def test_against_another_runner_the_ratio_is_measured_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    relaxed = replace(THRESHOLDS, quick_seconds=0.0, spread=1e9)
    monkeypatch.setattr("edgekit.bench.judge", partial(judge, thresholds=relaxed))
    slow = FakeRunner(lambda x: sum(x for _ in range(400)), name="slow")
    fast = FakeRunner(lambda x: x * 2, name="fast")
    result = quick(fast, inputs=[X], against=slow)
    assert result.speedup is not None
    assert result.speedup.word == "faster"
    assert result.speedup.low > 1
    assert result.to_json()["speedup"]["against"] == "slow"
    assert "faster: slow takes" in str(result)


def test_an_invalid_number_is_not_compared() -> None:
    result = quick(FakeRunner(lambda x: x * 2), against=FakeRunner(lambda x: x * 2, name="twin"))
    assert result.speedup is None
    assert "not compared with twin" in str(result)


def test_the_package_is_the_function() -> None:
    assert callable(edgekit.bench)
    assert inspect.signature(edgekit.bench) == inspect.signature(bench)
    with pytest.raises(DataError):
        edgekit.bench(FakeRunner(lambda x: x), inputs=[])


@pytest.mark.parametrize("first", ["import edgekit.bench", "from edgekit.bench import clock", "edgekit.bench", "pass"])
def test_the_name_means_the_same_whatever_was_imported_first(first: str) -> None:
    checks = "assert callable(edgekit.bench)\nimport edgekit.bench.clock\nassert callable(edgekit.bench)"
    code = f"import edgekit\n{first}\n{checks}"
    root = Path(edgekit.bench.__file__ or "").parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_statistics_are_frozen() -> None:
    assert isinstance(GOOD, Statistics)
    with pytest.raises(AttributeError):
        GOOD.n = 5  # type: ignore[misc]
