"""The launcher and the timing program in C: compiled without a warning, and run against a double of the CUDA driver."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import aot_kernels
import pytest
from aot_kernels import TESTS, manifest

pytest.importorskip("triton")

INCLUDE = aot_kernels.include()
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
SOURCES = ("timing.c", "launcher.c", "kernels.c")


@pytest.fixture(scope="module")
def exported() -> Path:
    return aot_kernels.exported()


@pytest.fixture(scope="module")
def orin(exported: Path) -> Path:
    return exported / "agx-orin"


@pytest.fixture(scope="module")
def timing(orin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The timing program over the double."""
    program = tmp_path_factory.mktemp("timing") / "timing"
    library = program.with_name("libcuda.so")
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-std=c99", *WARNINGS, "-I", INCLUDE, TESTS / "driver_double.c", "-o", library],
        check=True,
    )
    checks = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    sources = [orin / name for name in SOURCES]
    link = ["-L", program.parent, "-lcuda", f"-Wl,-rpath,{program.parent}"]
    subprocess.run(["gcc", "-std=c99", *WARNINGS, *checks, "-I", INCLUDE, *sources, "-o", program, *link], check=True)
    return program


def run(timing: Path, orin: Path, *arguments: str, **double: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [timing, "--directory", orin, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **double},
    )


def records(timing: Path, orin: Path, tmp_path: Path, *arguments: str) -> tuple[Any, list[dict[str, Any]]]:
    """The document that the program prints, and what the driver saw."""
    done = run(timing, orin, *arguments, DRIVER_RECORD=str(tmp_path / "record"))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), [json.loads(line) for line in (tmp_path / "record").read_text().splitlines()]


@pytest.mark.parametrize("name", ["agx-orin", "agx-orin-jetpack-7.2"])
def test_everything_compiles_without_a_warning(name: str, exported: Path, tmp_path: Path) -> None:
    for source in SOURCES:
        command = ["gcc", "-std=c99", *WARNINGS, "-I", INCLUDE, "-c", exported / name / source, "-o", tmp_path / "o"]
        subprocess.run(command, check=True)
    (tmp_path / "user.cc").write_text('#include "kernels.h"\nint main() { return (int)edgekit_call_count - 1; }\n')
    command = ["g++", *WARNINGS, "-I", INCLUDE, "-I", exported / name, "-fsyntax-only", tmp_path / "user.cc"]
    subprocess.run(command, check=True)


def test_the_makefile_builds_the_program(exported: Path, timing: Path, tmp_path: Path) -> None:
    """A toolkit as it lies on a device: headers, and a stub of the driver's library."""
    (tmp_path / "cuda" / "lib64" / "stubs").mkdir(parents=True)
    (tmp_path / "cuda" / "include").symlink_to(INCLUDE)
    (tmp_path / "cuda" / "lib64" / "stubs" / "libcuda.so").symlink_to(timing.with_name("libcuda.so"))
    (tmp_path / "copy").mkdir()
    for path in (exported / "agx-orin").iterdir():
        (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    subprocess.run(["make", f"CUDA={tmp_path / 'cuda'}"], cwd=tmp_path / "copy", check=True, capture_output=True)
    assert (tmp_path / "copy" / "timing").exists()


def test_launches_are_those_of_the_manifest(timing: Path, orin: Path, tmp_path: Path) -> None:
    """Grid, block, shared memory, number, type and value of every parameter, as a driver sees them."""
    content = manifest(orin)
    kernels = {kernel["name"]: kernel for kernel in content["kernels"]}
    document, seen = records(timing, orin, tmp_path, "--samples", "1", "--warmup", "0", "--repeat", "1")
    launches = [record for record in seen if record["do"] == "launch"]
    planned = [(call, launch) for call in content["calls"] for launch in call["launches"]]
    assert [call["call"] for call in document["calls"]] == [call["name"] for call in content["calls"]]
    assert len(launches) == len(planned) > 0
    for record, (call, launch) in zip(launches, planned, strict=True):
        kernel = kernels[launch["kernel"]]
        assert (record["symbol"], record["grid"]) == (kernel["symbol"], launch["grid"]), call["name"]
        assert record["block"] == [kernel["threads"], 1, 1]
        assert record["shared"] == kernel["shared_bytes"]
        assert len(record["parameters"]) == len(kernel["parameters"]) + kernel["hidden_parameters"]
        assert record["parameters"][-2:] == [["pointer", 0]] * 2
        for (type_, value), parameter in zip(record["parameters"], kernel["parameters"], strict=False):
            name, _, declared = parameter.partition(": ")
            if declared.startswith("*"):
                assert type_ == "pointer"
                assert value > 0
                assert value % 16 == 0
            else:
                assert (type_, value) == ({"i32": "int32", "i64": "int64", "fp32": "float32"}[declared],
                                          launch["values"][name])  # fmt: skip


def test_inputs_and_results_have_memory_of_their_size(timing: Path, orin: Path, tmp_path: Path) -> None:
    _, seen = records(timing, orin, tmp_path, "--samples", "1", "linear_s8_head")
    assert [record["bytes"] for record in seen if record["do"] == "fill"] == [64, 640, 40, 40, 10]
    assert [record["byte"] for record in seen if record["do"] == "fill"] == [0x3C, 0x3C, 0, 0x3C, 0x3C]
    assert sum(record["do"] == "free" for record in seen) == 5
    assert sum(record["do"] == "unload" for record in seen) == 1


def test_the_median_is_that_of_the_samples(timing: Path, orin: Path, tmp_path: Path) -> None:
    """The double's events lie 1, 2, 3, ... ms apart; two warm it up, and each sample is four launches."""
    asked = ("--samples", "5", "--warmup", "2", "--repeat", "4", "linear_s8_head")
    document, seen = records(timing, orin, tmp_path, *asked)
    (call,) = document["calls"]
    assert (call["least_us"], call["median_us"], call["p90_us"]) == (3000 / 4, 5000 / 4, 7000 / 4)
    assert sum(record["do"] == "launch" for record in seen) == (5 + 2) * 4
    assert call["loaded_from"] == ["ptx"]  # the double refuses machine code, as for another architecture
    assert (document["compute_capability"], document["compiled_for"], document["driver_cuda"]) == ("8.7", "8.7", "12.6")


def test_much_shared_memory_is_asked_for(timing: Path, orin: Path, tmp_path: Path) -> None:
    for path in orin.iterdir():
        text = path.read_bytes()
        if path.name == "kernels.c":  # as if the kernels needed more than a block has without asking
            rows = [row.rpartition(", ")[0] + ", 65536};" if "edgekit_kernel linear" in row else row
                    for row in text.decode().splitlines()]  # fmt: skip
            text = "\n".join(rows).encode()
        (tmp_path / path.name).write_bytes(text)
    program = tmp_path / "program"
    sources = [tmp_path / name for name in SOURCES]
    link = ["-L", timing.parent, "-lcuda", f"-Wl,-rpath,{timing.parent}"]
    subprocess.run(["gcc", "-std=c99", "-I", INCLUDE, *sources, "-o", program, *link], check=True)
    _, seen = records(program, orin, tmp_path, "--samples", "1", "linear_s8_head")
    allowed = [record for record in seen if record["do"] == "allow"]
    assert allowed == [{"do": "allow", "symbol": "linear_s8_kernel", "shared": 65536}]
    assert {record["shared"] for record in seen if record["do"] == "launch"} == {65536}


@pytest.mark.parametrize(
    ("arguments", "double", "code", "message"),
    [
        ((), {"DRIVER_SKEW": "4"}, 1, "x: the address is not a multiple of what the kernel was compiled for"),
        ((), {"DRIVER_FAILS": "cuModuleLoadData"}, 1, "quantize_s8_kernel_"),
        ((), {"DRIVER_FAILS": "cuLaunchKernel"}, 1, "invalid argument"),
        ((), {"DRIVER_FAILS": "cuInit"}, 1, "cuInit: invalid argument"),
        (("--directory", "/nowhere"), {}, 1, "there is no file of this kernel"),
        (("--samples", "0"), {}, 2, "usage: timing"),
        (("linear_s8_tail",), {}, 2, "no such call"),
    ],
)
def test_what_fails_is_said(
    timing: Path, orin: Path, arguments: tuple[str, ...], double: dict[str, str], code: int, message: str
) -> None:
    done = run(timing, orin, *arguments, **double)
    assert done.returncode == code
    assert message in done.stderr
    assert "Sanitizer" not in done.stderr
