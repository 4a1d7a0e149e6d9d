"""What `make native` and `make native-aarch64` built runs a plan of the exporter, on both processors."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from quantised import items, quantised

import edgekit as ek

ROOT = Path(__file__).parents[1]
EMULATORS = {"native": (), "aarch64": ("qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu")}


def built(machine: str, program: str) -> list[str]:
    """The command that runs a program of that build."""
    path = ROOT / "build" / machine / program
    emulator = EMULATORS[machine]
    target = "native" if machine == "native" else f"native-{machine}"
    reason = "" if path.exists() else f"`make {target}` has not built {program}"
    if emulator and not shutil.which(emulator[0]):
        reason = f"{emulator[0]} is not installed"
    if reason:
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return [*emulator, str(path)]


def run(command: Sequence[str], *words: object) -> str:
    done = subprocess.run([*command, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.ekm, its input and the bytes that the golden answers."""
    folder = tmp_path_factory.mktemp("native")
    graph = quantised("residual")
    ek.export_native(graph, folder / "model.ekm")
    x = items((3, 8, 8), 1, seed=4)
    x.numpy().tofile(folder / "in.bin")
    np.save(folder / "in.npy", x.numpy())
    golden = ek.lower(graph)(x).numpy()
    golden.tofile(folder / "out.bin")
    np.save(folder / "golden.npy", golden)
    return folder


@pytest.mark.parametrize("program", ["c/run_c", "cpp/run_cpp"])
@pytest.mark.parametrize("machine", EMULATORS)
def test_an_example_answers_as_the_golden_does(machine: str, program: str, files: Path) -> None:
    words = (files / "model.ekm", "--in", files / "in.bin", "--self-test", files / "out.bin")
    assert "ok" in run(built(machine, f"examples/{program}"), *words)


@pytest.mark.parametrize("machine", EMULATORS)
def test_ekrun_answers_as_the_golden_does(machine: str, files: Path, tmp_path: Path) -> None:
    run(built(machine, "ekrun"), files / "model.ekm", "--in", files / "in.npy", "--out", tmp_path / "out.npy")
    assert np.load(tmp_path / "out.npy").tobytes() == np.load(files / "golden.npy").tobytes()


def test_both_processors_gave_the_same_bytes() -> None:
    for machine in EMULATORS:
        built(machine, "plans/image.bin")
    ours, theirs = (sorted((ROOT / "build" / machine / "plans").glob("*.bin")) for machine in EMULATORS)
    assert [one.read_bytes() for one in ours] == [one.read_bytes() for one in theirs]


def test_one_version_stands_in_all() -> None:
    (version,) = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert f'return "{version}";' in (ROOT / "csrc/engine/api.cc").read_text()


PRODUCT = """\
cmake_minimum_required(VERSION 3.18)
project(product LANGUAGES C)
include(FetchContent)
FetchContent_Declare(edgekit SOURCE_DIR "{root}" SOURCE_SUBDIR csrc)
FetchContent_MakeAvailable(edgekit)
add_executable(product "{root}/csrc/examples/c/main.c")
target_link_libraries(product PRIVATE edgekit::edgekit)
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_it_builds_inside_another_project(files: Path, tmp_path: Path) -> None:
    """From sources, as part of a project in C, with nothing installed and no test or program of ours built."""
    if not shutil.which("cmake"):
        pytest.skip("cmake is not installed")
    source, build = tmp_path / "source", tmp_path / "build"
    source.mkdir()
    (source / "CMakeLists.txt").write_text(PRODUCT.format(root=ROOT))
    run(["cmake"], "-S", source, "-B", build)
    run(["cmake"], "--build", build, "--target", "product", "-j", 2)
    words = (files / "model.ekm", "--in", files / "in.bin", "--self-test", files / "out.bin")
    assert "ok" in run([str(build / "product")], *words)
    assert not list(build.rglob("ekrun"))
    assert not list(build.rglob("kernels_test"))
