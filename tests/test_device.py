"""The device description on made-up machines, and on this one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit import device

X86 = """processor\t: 0
model name\t: Imaginary CPU 9000
flags\t\t: fpu sse2 avx2 fma avx512f avx512_vnni

processor\t: 1
model name\t: Imaginary CPU 9000
flags\t\t: fpu
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n"


def machine(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_an_x86_machine(tmp_path: Path) -> None:
    root = machine(tmp_path, proc__cpuinfo=X86, proc__meminfo="MemTotal:       25165000 kB\nMemFree: 1 kB\n")
    facts = device.describe(root)
    assert facts["cpu"] == "Imaginary CPU 9000"
    assert facts["cpu_flags"] == ["avx2", "fma", "avx512f", "avx512_vnni"]
    assert facts["memory_gib"] == 24
    assert device.has_vnni(root)


def test_a_board(tmp_path: Path) -> None:
    root = machine(tmp_path, proc__cpuinfo=ARM)
    (root / "proc/device-tree").mkdir()
    (root / "proc/device-tree/model").write_bytes(b"NVIDIA Jetson Orin Nano\0")
    facts = device.describe(root)
    assert facts["board"] == "NVIDIA Jetson Orin Nano"
    assert facts["cpu_flags"] == ["neon", "neon_dotprod", "neon_i8mm"]
    assert not device.has_vnni(root)


@pytest.mark.parametrize(
    ("flags", "vnni"), [("avx2 avx_vnni", True), ("avx2 avx512f", False), ("avx512_vnni_of_another_name", False)]
)
def test_vnni_needs_the_whole_word(tmp_path: Path, flags: str, vnni: bool) -> None:
    assert device.has_vnni(machine(tmp_path, proc__cpuinfo=f"flags : {flags}\n")) is vnni


def test_what_cannot_be_read_is_unknown_and_never_invented(tmp_path: Path) -> None:
    facts = device.describe(tmp_path)
    unknown = ("board", "memory_gib", "governor", "turbo")
    assert {key: facts[key] for key in unknown} == dict.fromkeys(unknown)
    assert facts["cpu_flags"] == []


@pytest.mark.parametrize("garbage", [b"", b"\xff\xfe\0\0", b":::\n:\n\n", b"MemTotal:\nMemTotal: many kB\n"])
def test_broken_kernel_files_are_unknown(tmp_path: Path, garbage: bytes) -> None:
    for name in ("proc/cpuinfo", "proc/meminfo", "etc/os-release", "sys/devices/system/cpu/cpufreq/boost"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(garbage)
    facts = device.describe(tmp_path)
    assert facts["memory_gib"] is None
    assert facts["turbo"] is None


@pytest.mark.parametrize(
    ("name", "text", "turbo"),
    [("cpufreq/boost", "1", True), ("cpufreq/boost", "0", False), ("intel_pstate/no_turbo", "1", False)],
)
def test_turbo(tmp_path: Path, name: str, text: str, turbo: bool) -> None:
    path = tmp_path / "sys/devices/system/cpu" / name
    path.parent.mkdir(parents=True)
    path.write_text(text + "\n")
    assert device.describe(tmp_path)["turbo"] is turbo


def test_the_fingerprint_is_the_hardware_and_nothing_else(tmp_path: Path) -> None:
    one = machine(tmp_path / "a", proc__cpuinfo=X86, proc__meminfo="MemTotal: 25165000 kB\n")
    same = machine(
        tmp_path / "b", proc__cpuinfo=X86, proc__meminfo="MemTotal: 25164990 kB\n", **{"etc__os-release": "x"}
    )
    other = machine(tmp_path / "c", proc__cpuinfo=X86.replace("9000", "9001"), proc__meminfo="MemTotal: 25165000 kB\n")
    assert device.fingerprint(one) == device.fingerprint(same)
    assert device.fingerprint(one) != device.fingerprint(other)
    assert len(device.fingerprint(one)) == 12


def test_this_machine_is_json_and_imports_nothing_heavy() -> None:
    heavy = "{'numpy', 'torch', 'onnxruntime', 'triton', 'tensorrt'}"
    code = (
        f"import json, sys, edgekit.device as d; print(json.dumps([d.describe(), sorted({heavy} & set(sys.modules))]))"
    )
    root = Path(device.__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    facts, imported = json.loads(result.stdout)
    assert imported == []
    assert facts["cores"] >= 1
    assert facts["packages"]["numpy"]
