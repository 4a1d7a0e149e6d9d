"""Machine code, tuning and tiers of single kernels, and the benchmarks for a GPU as far as an interpreter goes."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import edgekit as ek
from edgekit import cli
from edgekit.bench.kernels import asm, tune, tuned
from edgekit.bench.kernels.peak import Rate
from edgekit.bench.kernels.run import describe
from edgekit.bench.kernels.stopwatch import CpuStopwatch
from edgekit.errors import InputError, KernelMismatch, MissingDependency, UnsupportedError, UsageError
from edgekit.ops import OPS, dispatch, linear_s8

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SPECS = {spec.name: spec for spec in OPS}

LISTING = """
0000000000001000 <edgekit::foo_ref(edgekit::foo_args const&)>:
    1000:\tcall   2000 <edgekit::(anonymous namespace)::inner<1>(int)>
    1005:\tlea    0x10(%rip),%rax        # 9000 <edgekit::kTable>
    100a:\tjmp    1000 <edgekit::foo_ref(edgekit::foo_args const&)+0x5>
    100f:\tcall   5000 <memset@plt>

0000000000002000 <edgekit::(anonymous namespace)::inner<1>(int)>:
    2000:\tret

0000000000003000 <edgekit::pointed()>:
    3000:\tret

0000000000004000 <edgekit::other()>:
    4000:\tret

0000000000005000 <memset@plt>:
    5000:\tret
"""
SYMBOLS = """
0000000000009000 l     O .data.rel.ro\t0000000000000010              edgekit::kTable
0000000000009000 R_X86_64_RELATIVE  *ABS*+0x0000000000003000
0000000000009008 R_X86_64_RELATIVE  *ABS*+0x0000000000007777
"""


def test_code_is_followed_through_calls_and_tables() -> None:
    functions, pointers = asm.split(LISTING), asm.tables(LISTING + SYMBOLS)
    assert list(functions) == [
        "edgekit::foo_ref(edgekit::foo_args const&)",
        "edgekit::(anonymous namespace)::inner<1>(int)",
        "edgekit::pointed()",
        "edgekit::other()",
    ]
    assert pointers == {"edgekit::kTable": ["edgekit::pointed()"]}
    assert list(asm.reached(functions, [next(iter(functions))], pointers)) == list(functions)[:3]


@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is not installed")
def test_the_code_of_the_built_kernel_is_shown() -> None:
    pytest.importorskip("edgekit._C")
    found = asm.assembly("lut_s8", "ref")
    assert next(iter(found.functions)).startswith("edgekit::lut_s8_ref(")
    assert "ret" in str(found)


@pytest.mark.parametrize(
    ("arguments", "problem", "said"),
    [
        (("linear_s9",), UsageError, "linear_s8"),
        (("linear_s8", "avx3"), UsageError, "no C.. tier avx3"),
        (("linear_s8", "ref", "orin"), UsageError, "no code for a GPU"),
        (("linear_s8", None, "orin", "basic"), UsageError, "no language of a GPU"),
        (("linear_s8", None, "orinoco"), UsageError, "orin"),
        (("own.py:fn",), UsageError, "a kernel of your own"),
    ],
)
def test_code_that_is_not_there_is_refused(arguments: tuple[Any, ...], problem: type[Exception], said: str) -> None:
    with pytest.raises(problem, match=said):
        asm.assembly(*arguments)


def test_a_missing_disassembler_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MissingDependency, match="apt-get install binutils"):
        asm.assembly("lut_s8", "ref")


def test_a_library_without_names_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asm, "_objdump", lambda *_: "")
    with pytest.raises(UnsupportedError, match="has no function lut_s8_ref"):
        asm.assembly("lut_s8", "ref")


@pytest.mark.slow
def test_a_triton_kernel_shows_its_code_without_a_gpu() -> None:
    pytest.importorskip("triton")
    done = CliRunner().invoke(cli.app, ["kernels", "asm", "linear_s8", "--target", "orin", "--json"])
    assert done.exit_code == 0, done.output
    functions = json.loads(done.stdout)["functions"]
    assert functions
    assert all(".target sm_87" in code for code in functions.values())
    assert any("mma.sync" in code for code in functions.values())


@dataclass(frozen=True)
class Config:
    """Like those of kernel files."""

    block: int
    warps: int
    stages: int = 3
    even: bool = True


def test_the_neighbours_of_a_configuration_differ_in_one_field_by_one_step() -> None:
    config = Config(64, 1)
    assert list(tune.neighbours(config)) == [
        replace(config, block=32), replace(config, block=128), replace(config, warps=2),
        replace(config, stages=2), replace(config, stages=4),
    ]  # fmt: skip


def test_the_search_ends_at_the_fastest_and_keeps_what_was_refused() -> None:
    def time(config: Config) -> float:
        if config.block > 512:
            raise RuntimeError("out of shared memory\nand more")
        if config.stages > 3:
            raise KernelMismatch("it computes something else")
        return 100.0 + abs(config.block - 512) + 10 * abs(config.warps - 8)

    found = tune.search(Config(64, 1), time)
    assert (found.best, found.us) == (Config(512, 8), 100.0)
    assert found.first_us == 100 + 448 + 70
    assert (replace(found.best, block=1024), "RuntimeError: out of shared memory") in found.refused
    assert tune.search(Config(64, 1), time, most=3).tried <= 3
    with pytest.raises(ZeroDivisionError):  # a bug is no refusal
        tune.search(Config(64, 1), lambda _: 1 / 0)


def test_a_gain_below_two_percent_is_noise() -> None:
    assert tune.search(Config(64, 1), lambda config: 100.0 if config.block == 64 else 98.5).best == Config(64, 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_nothing_is_tuned_without_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["kernels", "tune", "linear_s8", "-o", str(tmp_path / "tuned.json")])
    assert stopped.value.code == MissingDependency.exit_code
    assert "there is no CUDA device" in capsys.readouterr().err
    assert not (tmp_path / "tuned.json").exists()
    with pytest.raises(UsageError, match="a kernel of your own"):
        tune.tune("own.py:fn")


def entry(args: tuple[Any, ...], config: Any, file: str) -> tuned.Entry:
    values = {name: getattr(config, name) for name in config.__dataclass_fields__}
    return tuned.Entry("linear_s8", "case", tuned.signature(args), file, values, 1.0, values, 2.0, 5, 1)


def on_triton(args: tuple[Any, ...]) -> tuple[torch.Tensor, list[Any]]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    moved = tuple(arg.to(device) if isinstance(arg, torch.Tensor) else arg for arg in args)
    with tune.chosen("linear_s8") as configs:
        got = dispatch.run(SPECS["linear_s8"], "triton", moved)
    assert isinstance(got, torch.Tensor)
    return got.cpu(), configs


def test_a_tuned_configuration_is_used_where_it_fits_and_the_heuristic_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    args, other = linear_s8.case("", (3,), 40, 20).args, linear_s8.case("", (2,), 8, 4).args
    want, (config,) = on_triton(args)
    file = type(config).__module__.rpartition(".")[2]
    smaller = replace(config, warps=config.warps * 2)
    content = tuned.Tuned(describe(), (entry(args, smaller, file),)).to_json()
    (tmp_path / "tuned.json").write_text(json.dumps(content))
    with tuned.tuned(tmp_path / "tuned.json") as found:
        assert "2.00 times as fast" in str(found)
        got, chosen = on_triton(args)
        assert (chosen, torch.equal(got, want)) == ([], True)
        assert len(on_triton(other)[1]) == 1
    assert on_triton(args)[1] == [config]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"file": "../../evil"}, InputError),
        ({"file": "os"}, InputError),
        ({"config": {"rows": "16"}}, InputError),
        ({"config": {"colour": 3}}, InputError),
        ({"config": [1]}, InputError),
        ({"surprise": 1}, InputError),
    ],
)
def test_a_tuned_file_is_not_trusted(tmp_path: Path, change: dict[str, Any], problem: type[Exception]) -> None:
    pytest.importorskip("triton")
    args = linear_s8.case("", (3,), 40, 20).args
    config = on_triton(args)[1][0]
    content = tuned.Tuned(describe(), (entry(args, config, type(config).__module__.rpartition(".")[2]),)).to_json()
    content["entries"][0] |= change
    (tmp_path / "tuned.json").write_text(json.dumps(content))
    with pytest.raises(problem, match=r"tuned kernels|no configuration"), tuned.tuned(tmp_path / "tuned.json"):
        pass


def test_kernels_tuned_on_another_gpu_are_refused(tmp_path: Path) -> None:
    machine = {**describe(), "gpu": {"name": "Another"}}
    (tmp_path / "tuned.json").write_text(json.dumps(tuned.Tuned(machine, ()).to_json()))
    with pytest.raises(UsageError, match="was measured on Another"), tuned.tuned(tmp_path / "tuned.json"):
        pass


def test_numbers_do_not_change_the_signature_of_a_call_and_sizes_do() -> None:
    x = torch.zeros(2, 3, dtype=torch.int8)
    assert tuned.signature((x, 0.5, 3, (1, 2))) == tuned.signature((x, 0.7, 4, (1, 2))) == "int8[2,3] (1,2)"
    assert tuned.signature((x[:1],)) != tuned.signature((x,)) != tuned.signature((x.int(),))


def test_every_tier_says_whether_it_runs_and_why_not() -> None:
    for spec in OPS:
        found = ek.explain(spec)
        assert [tier.name for tier in found] == ["reference", *spec.tiers]
        assert all(tier.reason for tier in found)
        assert {tier.name for tier in found if tier.available} == set(dispatch.available(spec))
        assert sum(tier.chosen and tier.device in ("cpu", "any") for tier in found) >= 1
    assert ek.explain("linear_s8") == dispatch.explain(SPECS["linear_s8"])
    with pytest.raises(UsageError, match="Did you mean 'linear_s8'"):
        ek.explain("linear_s9")


@pytest.mark.filterwarnings("ignore:.*edgekit._C:RuntimeWarning")
def test_the_chosen_tier_is_what_a_call_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SPECS["quantize_s8"]
    args = torch.randn(40), torch.tensor([0.1])
    chosen = [tier.name for tier in dispatch.explain(spec) if tier.chosen and tier.device == "cpu"]
    pytest.importorskip("edgekit._C")
    assert chosen == [[tier for tier in spec.tiers if tier in dispatch.available(spec) and tier != "triton"][-1]]
    monkeypatch.setattr(dispatch, "_native", None)
    dispatch._missing_native.cache_clear()
    try:
        found = {tier.name: tier for tier in dispatch.explain(spec)}
        assert found["reference"].chosen
        assert "cannot be imported" in found["ref"].reason
        assert torch.equal(torch.ops.edgekit.quantize_s8(*args), spec.reference(*args))
    finally:
        dispatch._missing_native.cache_clear()


def test_an_integer_graph_tells_the_tiers_of_its_operators() -> None:
    from test_explain import mixed

    found = ek.explain(ek.lower(mixed()[1]))
    assert {"edgekit.linear_s8", "edgekit.conv2d_s8"} <= set(found.tiers)
    assert found.tiers["edgekit.linear_s8"] == dispatch.explain(SPECS["linear_s8"])
    assert "edgekit.linear_s8 runs on" in str(found)
    json.dumps(found.to_json(), allow_nan=False)


@pytest.fixture
def gpu_benchmarks(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """The scripts for a GPU, whose device is Triton's interpreter."""
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        pytest.skip("they run on the GPU itself")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("gpu", "gpu_cases", "gpu_tests"):
        sys.modules.pop(name, None)
    import gpu
    import gpu_cases

    monkeypatch.setattr(gpu_cases, "_on_gpu", lambda args: args)
    monkeypatch.setattr(gpu_cases, "BATCH", 3)
    return gpu, gpu_cases


def measured(gpu: Any, comparison: Any) -> dict[str, Any]:
    rates = (Rate("cuda", "int8", "planted", per_second=1e12),)
    row: dict[str, Any] = gpu.measured(comparison, CpuStopwatch(lambda: None), rates, 0.01)
    assert gpu.line(row)
    json.dumps(row, allow_nan=False)
    return row


def test_products_are_held_against_the_vendors(gpu_benchmarks: tuple[Any, Any]) -> None:
    gpu, cases = gpu_benchmarks
    row = measured(gpu, cases.product(SPECS["linear_s8"], (32, 64, 32)))
    assert row["status"] == "ok"
    assert set(row["warm"]["parties"]) == {"edgekit", "torch._int_mm", "torch._int_mm + epilogue"}
    assert gpu.reached(row) == row["warm"]["against"]["torch._int_mm"]["ratio"]


def test_convolutions_are_held_against_float16(gpu_benchmarks: tuple[Any, Any]) -> None:
    gpu, cases = gpu_benchmarks
    row = measured(gpu, cases.convolution(SPECS["conv2d_s8"], (8, 6, 16, 3, 1)))
    assert (row["status"], row["goal"]) == ("ok", "cuDNN float16")


def test_what_moves_bytes_is_held_against_a_copy(gpu_benchmarks: tuple[Any, Any]) -> None:
    gpu, cases = gpu_benchmarks
    (case,) = cases.large(SPECS["quantize_s8"], {"": (2, 8, 8)})
    comparison = cases.moving(SPECS["quantize_s8"], case)
    row = measured(gpu, comparison)
    assert row["status"] == "ok"
    assert gpu.reached(row) == row["cold"]["of_copy"] > 0
    broken = replace(comparison, check=lambda: "3 of 4 values differ from the reference")
    assert measured(gpu, broken)["status"].startswith("wrong: 3 of 4")


def test_the_plain_runner_sees_a_wrong_kernel(gpu_benchmarks: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu_tests

    spec = SPECS["linear_s8"]
    chosen = list(gpu_tests.chosen(spec, small=True))
    assert len(chosen) == gpu_tests.FEW
    assert gpu_tests.wrong(spec, chosen[0], "cpu") == ""
    monkeypatch.setattr(dispatch, "run", lambda spec, tier, args: spec.reference(*args) ^ 1)
    assert gpu_tests.wrong(spec, chosen[0], "cpu")


@pytest.mark.parametrize("script", ["gpu", "gpu_tests", "gpu_check"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_scripts_say_that_nothing_was_measured(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", [script])
    assert __import__(script).main() == 0
    assert "on a GPU: there is no CUDA device" in capsys.readouterr().out
