"""Benchmarks of single kernels: when they stop, what they say and refuse; on planted clocks, so no time matters."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from edgekit import cli
from edgekit.bench.clock import interleave
from edgekit.bench.kernels import caches, peak, shapes, subject
from edgekit.bench.kernels.peak import Rate
from edgekit.bench.kernels.plot import svg
from edgekit.bench.kernels.result import KernelBench
from edgekit.bench.kernels.run import bench, save
from edgekit.bench.kernels.series import FIRST, median, settle
from edgekit.bench.kernels.stopwatch import CpuStopwatch, timed
from edgekit.bench.kernels.verdict import between_runs, in_turn
from edgekit.errors import InputError, KernelMismatch, MissingDependency, UsageError
from edgekit.ops import OPS

OWN = """
import torch
shapes = [(4, 8)]
def inputs(shape):
    return (torch.arange(shape[0] * shape[1], dtype=torch.float32).reshape(shape),)
def reference(x):
    return x * 2
def right(x):
    return x + x
def wrong(x):
    return x * 2 + 1
def shape_is_wrong(x):
    return (x * 2)[1:]
def raises(x):
    raise RuntimeError("no luck")
def nearly(x):
    return x * 2 + 0.01
def cost(x):
    return 0, 2 * x.numel() * 4
"""
RATES = (Rate("cpu", "copy", "planted", per_second=1e9), Rate("cpu", "int8", "planted", "avx2", per_second=1e9))


class Ticks:
    """A clock that stands still unless something moves it."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns

    def work(self, ns: int) -> Callable[[], None]:
        def call() -> None:
            self.ns += ns

        return call


class Planted:
    """A stopwatch that gives each party its time, whatever it does; cold takes twice as long."""

    device = "cpu"

    def __init__(self, ns: Mapping[str, int]) -> None:
        self.ns, self.timed = ns, set[str]()

    def round(self, calls: Mapping[str, Any], count: int, seconds: float, cold: bool) -> dict[str, list[int]]:
        self.timed |= set(calls)
        return {name: [self.ns.get(name, 1000) * (2 if cold else 1)] * count for name in calls}


@pytest.fixture(autouse=True)
def planted_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "of_device", lambda _: RATES)


def run(kernel: str, ns: Mapping[str, int] | None = None, **options: Any) -> KernelBench:
    watch = Planted(ns or {})
    return bench(kernel, watch=lambda _: watch, **options)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    return file


def test_the_median_of_equal_times_is_settled_and_that_of_few_or_scattered_ones_is_not() -> None:
    assert median([1000] * 6).settled
    assert not median([1000] * 5).settled  # five samples enclose no median with 95 %
    scattered = median(range(1000, 2000, 20))
    assert not scattered.settled
    assert scattered.low_us < scattered.us < scattered.high_us
    assert scattered.half_width == pytest.approx((scattered.high_us - scattered.low_us) / 2 / scattered.us)


def test_the_interval_is_that_of_the_ranks() -> None:
    found = median(range(1000, 101_000, 1000))  # 1 to 100 us: the 40th and the 61st enclose the median with 95 %
    assert (found.low_us, found.us, found.high_us) == (40.0, 50.5, 61.0)


def test_a_settled_series_stops_after_its_first_round() -> None:
    rounds: list[int] = []

    def take(count: int, _: float) -> dict[str, list[int]]:
        rounds.append(count)
        return {"a": [500] * count}

    assert len(settle(take, 1.0, Ticks())["a"]) == FIRST
    assert rounds == [FIRST]


def test_a_noisy_series_goes_on_until_its_time_is_spent() -> None:
    ticks, noise = Ticks(), iter(range(10**9))

    def take(count: int, _: float) -> dict[str, list[int]]:
        ticks.ns += 10**8
        return {"quiet": [500] * count, "noisy": [1000 + next(noise) * 7919 % 6007 for _ in range(count)]}

    taken = settle(take, 0.95, ticks)
    assert ticks.ns == 10 * 10**8
    assert not median(taken["noisy"]).settled
    assert len(taken["quiet"]) == len(taken["noisy"]) > FIRST


def test_a_cold_call_follows_an_eviction_that_its_time_leaves_out() -> None:
    ticks, evicted = Ticks(), []

    def evict() -> None:
        evicted.append(ticks.ns)
        ticks.ns += 10**6

    watch = CpuStopwatch(evict, now=ticks)
    calls = {"a": ticks.work(300), "b": ticks.work(700)}
    assert watch.round(calls, 5, 1.0, cold=True) == {"a": [300] * 5, "b": [700] * 5}
    assert len(evicted) == 10
    assert watch.round(calls, 5, 1.0, cold=False) == {"a": [300] * 5, "b": [700] * 5}
    assert len(evicted) == 10


def test_what_comes_before_each_call_is_in_no_sample() -> None:
    ticks = Ticks()
    series = interleave(
        {"": ticks.work(50)}, warmup=0, min_samples=3, before_each=ticks.work(10**6), max_seconds=9, now=ticks
    )
    assert series[""].ns == (50, 50, 50)


def test_the_last_cache_is_the_largest(tmp_path: Path) -> None:
    assert caches.last_level_bytes(tmp_path) is None
    for index, size in enumerate(("32K", "1024K", "36M", "nonsense")):
        folder = tmp_path / f"sys/devices/system/cpu/cpu0/cache/index{index}"
        folder.mkdir(parents=True)
        (folder / "size").write_text(size)
    assert caches.last_level_bytes(tmp_path) == 36 << 20


def test_an_eviction_writes_to_every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    zeros = caches.np.zeros
    monkeypatch.setattr(caches.np, "zeros", lambda *args: kept.append(zeros(*args)) or kept[-1])
    caches.evictor(1000)()
    assert [int(value) for value in kept[0].nonzero()[0]] == list(range(0, 960, 64))


@pytest.mark.parametrize(
    ("own_ns", "base_ns", "word"),
    [(1000, 2000, "FAST"), (2000, 1000, "SLOW"), (1000, 1000, "SAME"), (1000, 1015, "FAST"), (1000, 1005, "SAME")],
)
def test_calls_in_turn_are_faster_slower_or_the_same(own_ns: int, base_ns: int, word: str) -> None:
    series = [own_ns] * 30, [base_ns] * 30
    found = in_turn(*series, *map(median, series), "base")
    assert (found.word, found.reason) == (word, "")
    assert found.ratio == base_ns / own_ns


def test_nothing_is_said_of_medians_that_are_not_settled() -> None:
    noisy = [1000, 3000] * 15
    found = in_turn([1000] * 30, noisy, median([1000] * 30), median(noisy), "base")
    assert (found.word, found.reason) == ("UNSURE", "the base's median is not known to 1 %")


def test_nor_where_the_interval_straddles_the_indifference() -> None:
    base = [1005] * 15 + [1025] * 15
    found = in_turn([1000] * 30, base, median([1000] * 30), median(base), "base")
    assert found.word == "UNSURE"
    assert found.reason == "the ratio lies between 1.005 and 1.025"


def test_a_few_pairs_have_no_interval_and_json_no_infinity() -> None:
    found = in_turn([1000] * 7, [5000] * 7, median([1000] * 7), median([5000] * 7), "base")
    assert found.word == "UNSURE"
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize(("base_us", "word"), [(1.02, "SAME"), (1.2, "FAST"), (0.8, "SLOW")])
def test_two_runs_need_more_than_calls_in_turn(base_us: float, word: str) -> None:
    own, base = median([1000] * 30), median([round(base_us * 1000)] * 30)
    assert between_runs(own, base, "old.json").word == word


def test_a_tier_is_held_against_another_in_the_same_run() -> None:
    found = run("linear_s8", {"ref": 3000, "reference": 9000}, sizes=["4x32x16"], tiers=["ref"], base="reference")
    verdicts = {row.tier: row.states["warm"].verdict for row in found.rows}
    assert verdicts["reference"] is None  # it is the base itself
    assert verdicts["ref"] is not None
    assert (verdicts["ref"].word, verdicts["ref"].ratio, verdicts["ref"].base) == ("FAST", 3.0, "reference")
    assert "FAST 3.00x / FAST 3.00x" in str(found)


def test_rows_say_work_over_time_and_shares_of_the_limits() -> None:
    (row,) = run("linear_s8", {"ref": 2000, "": 1000}, sizes=["4x32x16"], tiers=["ref"]).rows
    warm, cold, macs = row.states["warm"], row.states["cold"], 4 * 32 * 16
    assert (warm.median.us, cold.median.us) == (2.0, 4.0)
    assert warm.gmacs_per_s == pytest.approx(macs / 2e-6 / 1e9)
    assert warm.of_peak == pytest.approx(
        macs / 2e-6 / 1e9
    )  # the planted peak is 1e9, and `ref` is held against the best
    assert warm.of_copy == cold.of_copy == 0.5


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_what_this_machine_lacks_is_a_row_with_its_reason() -> None:
    found = run("linear_s8", sizes=["2x8x4"])
    absent = {row.tier: row.status for row in found.rows if row.status != "ok"}
    assert absent["triton"] == "not measured: there is no CUDA device"
    assert all(status.startswith("not measured: ") for status in absent.values())
    assert "not measured: there is no CUDA device" in str(found)


@pytest.mark.parametrize(
    ("arguments", "problem", "said"),
    [
        ({"kernel": "linear_s9"}, UsageError, "Did you mean 'linear_s8'"),
        ({"kernel": "linear_s8", "sizes": ["4x"]}, UsageError, "is no shape"),
        ({"kernel": "linear_s8", "sizes": ["0x4x4"]}, UsageError, "is no shape"),
        ({"kernel": "linear_s8", "sizes": ["4x4"]}, UsageError, "It takes rows x fan-in x features"),
        ({"kernel": "linear_s8", "tiers": ["avx3"]}, UsageError, "has no tier avx3"),
        ({"kernel": "linear_s8", "base": "avx3"}, UsageError, "has no tier avx3"),
        ({"kernel": "linear_s8", "budget_s": 0.0}, UsageError, "cannot take"),
        ({"kernel": "linear_s8", "base": "nothing.json"}, InputError, "holds no benchmark of kernels"),
        ({"kernel": "nothing.py:fn"}, InputError, "There is no file"),
    ],
)
def test_a_call_that_is_off_says_how(arguments: dict[str, Any], problem: type[Exception], said: str) -> None:
    with pytest.raises(problem, match=said):
        run(**arguments)


def test_a_tier_that_is_asked_for_and_not_here_is_refused() -> None:
    absent = next(tier for tier in ("neondot", "avx512vnni", "avx2") if tier not in _here())
    with pytest.raises(MissingDependency, match=absent):
        run("linear_s8", tiers=[absent])


def _here() -> list[str]:
    native = pytest.importorskip("edgekit._C")
    flags: list[str] = native.isa_flags()
    return flags


def test_a_kernel_of_the_users_own_is_checked_and_timed(own: Path) -> None:
    (row,) = run(f"{own}:right").rows
    assert (row.tier, row.case, row.status) == ("own", "4x8", "ok")
    assert row.states["warm"].gb_per_s == pytest.approx(2 * 32 * 4 / 1e-6 / 1e9)
    rows = run(f"{own}:right", {"own": 500, "reference": 1000}, base="reference", sizes=["2x3"]).rows
    words = {row.tier: row.states["warm"].verdict for row in rows}
    assert (words["own"] and words["own"].word, words["reference"]) == ("FAST", None)


@pytest.mark.parametrize("kernel", ["wrong", "shape_is_wrong", "nearly"])
def test_a_wrong_kernel_is_not_timed(own: Path, kernel: str) -> None:
    watch = Planted({})
    found = bench(f"{own}:{kernel}", watch=lambda _: watch)
    assert [row.status.partition(":")[0] for row in found.wrong] == ["wrong"]
    assert "own" not in watch.timed


def test_a_tolerance_is_the_users_to_give(own: Path) -> None:
    own.write_text(OWN + "tolerance = (0.0, 0.02)\n")
    assert run(f"{own}:nearly").rows[0].status == "ok"
    assert run(f"{own}:wrong").wrong


def test_memory_that_nobody_wrote_is_wrong(own: Path) -> None:
    own.write_text(OWN + "def lazy(x):\n    out = torch.empty_like(x)\n    out[1:] = x[1:] * 2\n    return out\n")
    for _ in range(3):  # right values may lie in that memory by chance
        assert run(f"{own}:lazy").wrong


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (OWN.replace("def reference", "def other"), "has no object 'reference'"),
        (OWN.replace("def inputs", "def other"), "has no object 'inputs'"),
        (OWN.replace("return (torch", "return [torch").replace("(shape),)", "(shape)]"), "gives no tuple"),
        (OWN.replace("def right(x):", "def right(x):\n    raise ValueError('odd')"), "own.py, line .*ValueError: odd"),
        (OWN.replace("return 0, 2", "return 1 / 0, 2"), "cost fails.*ZeroDivisionError"),
        (OWN + "1 +\n", "fails to load"),
    ],
)
def test_a_file_of_the_users_own_that_fails_says_where(own: Path, text: str, said: str) -> None:
    own.write_text(text)
    with pytest.raises(InputError, match=said):
        run(f"{own}:right")


def test_a_file_without_shapes_asks_for_them(own: Path) -> None:
    own.write_text(OWN.replace("shapes = [(4, 8)]", ""))
    with pytest.raises(UsageError, match="no shape is given"):
        run(f"{own}:right")
    with pytest.raises(UsageError, match="has no tier avx2"):
        run(f"{own}:right", tiers=["avx2"], sizes=["2x2"])


def test_an_earlier_run_is_a_base_on_the_same_machine_alone(tmp_path: Path) -> None:
    options: dict[str, Any] = {"sizes": ["4x32x16"], "tiers": ["ref"]}
    file, drawing = save(run("linear_s8", {"ref": 2000}, **options), tmp_path / "new")
    assert drawing.read_text().startswith("<svg")
    (row,) = run("linear_s8", {"ref": 1000}, base=str(file), **options).rows
    assert row.states["cold"].verdict is not None
    assert (row.states["cold"].verdict.word, row.states["cold"].verdict.base) == ("FAST", file.name)
    content = json.loads(file.read_text())
    content["machine"]["fingerprint"] = "0123456789ab"
    file.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="measured on another machine"):
        run("linear_s8", base=str(file), **options)
    file.write_text(json.dumps({**content, "schema": 99}))
    with pytest.raises(InputError, match="holds no benchmark"):
        run("linear_s8", base=str(file), **options)


def test_the_json_has_what_a_reader_needs() -> None:
    content = run("linear_s8", sizes=["4x32x16"], tiers=["ref"], base="ref").to_json()
    json.dumps(content, allow_nan=False)
    assert (content["schema"], content["benchmark"]) == (1, "kernels")
    assert {"fingerprint", "cpu", "governor", "packages", "gpu"} <= content["machine"].keys()
    assert {"device", "what", "how", "per_second", "reason"} <= content["peaks"][0].keys()
    assert {"kernel", "case", "tier", "device", "status", "states"} == content["rows"][0].keys()
    names = {"us", "low_us", "high_us", "n", "settled", "half_width", "gmacs_per_s", "gb_per_s", "of_peak", "of_copy"}
    assert names | {"verdict"} == content["rows"][0]["states"]["cold"].keys()


def test_the_plot_has_a_mark_for_every_median_and_says_when_there_is_none(own: Path) -> None:
    import xml.etree.ElementTree as tree

    found = run(f"{own}:right", base="reference", sizes=["2x3", "4x4"])
    marks = [node for node in tree.fromstring(svg(found)).iter() if node.tag.endswith("circle")]
    assert len(marks) == 2 + 2 * 2 * 2  # the key; two cases, two parties, two states
    assert "nothing was measured" in svg(run(f"{own}:wrong"))


SIZES = {
    "linear_s8": (4, 5, 6), "matmul_s8": (2, 3, 4, 5), "conv2d_s8": (1, 4, 8, 8, 8, 3, 2, 2), "gru_s8": (3, 2, 4),
    "conv_transpose2d_s8": (1, 4, 5, 5, 3, 2, 2), "avg_pool_s8": (1, 2, 8, 8, 2), "max_pool_s8": (1, 2, 8, 8, 2),
    "lstm_s8": (3, 2, 4),
}  # fmt: skip


@pytest.mark.parametrize("spec", OPS, ids=lambda spec: spec.name)
def test_sizes_make_a_call_that_the_operator_takes(spec: Any) -> None:
    if spec.name not in shapes._RULES:
        with pytest.raises(UsageError, match="its own cases are timed"):
            shapes.case(spec, (2, 4, 6))
        return
    case = shapes.case(spec, SIZES.get(spec.name, (2, 4, 6)))
    got, made = spec.reference(*case.args), spec.shape(*case.args)
    assert [one.shape for one in subject.results(got)] == [one.shape for one in subject.results(made)]
    assert set(shapes._RULES) <= {one.name for one in OPS}


def test_results_must_be_equal_where_they_are_integers() -> None:
    want = (torch.tensor([1, 2], dtype=torch.int8),)
    assert subject.differs(want[0], want) == ""
    assert subject.differs(want[0] + 1, want)
    assert subject.differs(want[0].int(), want)  # another type
    assert subject.differs([want[0], want[0]], want).startswith("2 results")
    assert subject.differs("text", want)


def test_a_limit_that_was_not_measured_says_so() -> None:
    without = str(Rate("cuda", "copy", "torch", reason="no CUDA device"))
    assert "not measured: no CUDA device" in without
    assert peak.best(RATES, "cpu", "int8", "avx2") == 1e9
    assert peak.best(RATES, "cpu", "float32") is None
    assert peak.best((*RATES, Rate("cpu", "int8", "", "vnni", 3e9)), "cpu", "int8", "avx2") == 1e9
    assert peak.best((*RATES, Rate("cpu", "int8", "", "vnni", 3e9)), "cpu", "int8", "ref") == 3e9


def test_the_limits_of_this_core_are_measured() -> None:
    copied, *instructions = peak.cpu(0.01)
    assert copied.per_second is not None
    assert copied.per_second > 0
    assert instructions
    native = pytest.importorskip("edgekit._C")
    assert [rate.how for rate in instructions] == [
        f"{row['name']} on registers, one core" for row in native.instructions()
    ]
    assert all((rate.per_second or 0) > 0 for rate in instructions if not rate.reason)
    with pytest.raises(ValueError, match="no instruction is called"):
        native.instruction_rate("nothing")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_that_is_not_there_is_not_measured() -> None:
    assert [str(rate).split()[:2] for rate in peak.cuda()] == [["cuda", "copy"]]
    assert peak.cuda()[0].reason == "no CUDA device"


def test_one_party_alone_is_timed() -> None:
    ticks = Ticks()
    assert timed(CpuStopwatch(lambda: None, now=ticks), ticks.work(250), 0.1).us == 0.25


def test_the_command_times_a_small_call(tmp_path: Path) -> None:
    arguments = ["kernels", "bench", "quantize_s8", "--shapes", "8x16", "--tier", "ref", "--seconds", "0.02"]
    done = CliRunner().invoke(cli.app, [*arguments, "--json", "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    assert [row["status"] for row in content["rows"]] == ["ok"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "kernels-quantize_s8.json",
        "kernels-quantize_s8.svg",
    ]
    assert "8x16" in CliRunner().invoke(cli.app, arguments).stdout


def test_the_command_ends_with_5_where_a_result_is_wrong(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["kernels", "bench", f"{own}:wrong", "--seconds", "0.02"])
    assert stopped.value.code == KernelMismatch.exit_code == 5
    said = capsys.readouterr()
    assert "EK5002" in said.err
    assert "wrong: " in said.out


def test_the_command_prints_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "measure", lambda _: RATES)
    done = CliRunner().invoke(cli.app, ["kernels", "peak", "--json"])
    assert [rate["per_second"] for rate in json.loads(done.stdout)["peaks"]] == [1e9, 1e9]
    assert "1.00" in CliRunner().invoke(cli.app, ["kernels", "peak"]).stdout
