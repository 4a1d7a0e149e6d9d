"""The doctor on this machine, and as a command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import types
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from board_trees import BOARDS, one

from edgekit import cli, device, doctor, targets
from edgekit.bench.rail import CounterRail, NoRail
from edgekit.doctor import machine, sensors, software
from edgekit.errors import UsageError

ROOT = Path(__file__).parent.parent


def test_the_root_must_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no directory"):
        doctor.examine(tmp_path / "absent")


def test_this_machine() -> None:
    found = doctor.examine()
    facts: Any = device.describe()
    assert found.machine.architecture == facts["machine"]
    assert list(found.machine.cpu_flags) == facts["cpu_flags"]
    assert found.machine.kernel == facts["kernel"]
    for name, version in facts["packages"].items():
        assert found.software.packages[name] == version
    assert one(found, "capture and train").status in ("ready", "untested")
    if device.is_x86() and found.software.usable("onnxruntime"):
        expected = "ready" if device.has_vnni() else "unsupported"
        assert one(found, "ONNX Runtime INT8, exact").status == expected
    dispatch = import_module("edgekit.ops.dispatch")
    assert (found.software.extension is None) == (dispatch._native is not None)
    assert found.machine.driver is None or Path("/proc/driver/nvidia/version").exists()


class FakeNvml(types.ModuleType):
    """As much of pynvml as is asked."""

    class NVMLError(Exception):
        pass

    def __init__(self, fails: bool = False) -> None:
        super().__init__("pynvml")
        self.fails = fails

    def nvmlInit(self) -> None:
        if self.fails:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> bytes:
        return b"NVIDIA H100 80GB HBM3"

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:
        return 9, 0


def test_nvml_names_the_gpu_of_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    here = machine.look(BOARDS / "x86-nvidia", live=True)
    assert (here.gpus, here.compute_capability) == (("NVIDIA H100 80GB HBM3",), ("9.0",))
    assert here.device is targets.device("datacenter-gpu")
    assert machine.look(BOARDS / "x86-nvidia", live=False).gpus == ("NVIDIA GeForce RTX 4090",)
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(fails=True))
    assert machine.look(BOARDS / "x86-nvidia", live=True).gpus == ("NVIDIA GeForce RTX 4090",)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert machine.look(BOARDS / "x86-nvidia", live=True).compute_capability == ()


@pytest.mark.parametrize("rail", [CounterRail("GPU 0", "call", "cuda", lambda: 1.0), NoRail("no \x1b counter")])
def test_the_counter_of_this_machine(monkeypatch: pytest.MonkeyPatch, rail: CounterRail | NoRail) -> None:
    monkeypatch.setattr("edgekit.bench.nvml.open_rail", lambda: rail)
    here = machine.look(BOARDS / "x86-nvidia", live=False)
    (counter,) = [s for s in sensors.find(BOARDS / "x86-nvidia", True, here) if s.kind == "nvml"]
    assert counter.fault == (None if isinstance(rail, CounterRail) else "no ? counter")


def test_the_minimum_versions_are_those_of_the_extras() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    for name, version in software.MINIMUM.items():
        found = set(re.findall(rf'"{re.escape(name)}>=([0-9.]+)"', text))
        assert found == {version}, name


def test_the_command_imports_nothing_heavy_and_ends_with_its_code() -> None:
    heavy = "{'torch', 'onnx', 'onnxruntime', 'triton', 'tensorrt', 'pandas', 'scipy'}"
    for board, code in (("orin-jetpack6", 0), ("xavier-jetpack5", 4)):
        script = (
            f"import sys; from edgekit.cli import main\n"
            f"try: main(['doctor', '--root', {str(BOARDS / board)!r}])\n"
            f"finally: print('HEAVY', sorted({heavy} & set(sys.modules)))"
        )
        result = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert (result.returncode, result.stdout.splitlines()[-1]) == (code, "HEAVY []"), result.stderr
        assert result.stderr == ""


def test_the_command_as_json_and_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "doctor.json"
    with pytest.raises(SystemExit) as stop:
        cli.main(["doctor", "--json", "-o", str(file), "--root", str(BOARDS / "xavier-jetpack5")])
    printed = json.loads(capsys.readouterr().out)
    assert stop.value.code == 4
    assert printed == json.loads(file.read_text())
    assert printed["machine"]["stack"] == "jetpack-5"


def test_the_command_refuses_a_root_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["doctor", "--root", "no/such/folder"])
    assert stop.value.code == 2
    assert "is no directory" in capsys.readouterr().err
