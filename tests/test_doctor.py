"""The doctor on other boards' files, and on turns of them."""

from __future__ import annotations

import json
import os
import shutil
from importlib import import_module
from pathlib import Path

import pytest
from board_trees import NAMES, copied, examine, one, status

from edgekit import doctor, targets
from edgekit.doctor import capabilities, sensors

power = import_module("edgekit.bench.power")

# What the boards are.

FACTS = {
    "orin-jetpack6": ("agx-orin", "36.4.3", "6.2", "jetpack-6", "540.4.0", ("8.7",), "aarch64", "Cortex-A78AE"),
    "thor-jetpack7": ("thor", "38.2.0", "7.0", "jetpack-7", "580.00", ("11.0",), "aarch64", "Neoverse-V3AE"),
    "xavier-jetpack5": ("agx-xavier", "35.4.1", "5.1.2", "jetpack-5", None, ("7.2",), "aarch64", "NVIDIA Carmel"),
    "raspberry-pi-5": ("raspberry-pi-5", None, None, None, None, (), "aarch64", "Cortex-A76"),
    "x86-nvidia": ("x86-rtx", None, None, None, "580.95.05", (), "x86_64", "13th Gen Intel(R) Core(TM) i9-13900K"),
    "x86-no-driver": ("x86-cpu", None, None, None, None, (), "x86_64", "Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz"),
}


@pytest.mark.parametrize("board", NAMES)
def test_what_a_board_is(board: str) -> None:
    found = examine(board).machine
    row = found.device.name if found.device else None
    stack = found.stack.name if found.stack else None
    facts = (
        row,
        found.l4t,
        found.jetpack,
        stack,
        found.driver,
        found.compute_capability,
        found.architecture,
        found.cpu,
    )
    assert facts == FACTS[board]
    assert found.is_jetson == (found.l4t is not None)
    assert found.is_board == (found.architecture == "aarch64")


@pytest.mark.parametrize("board", NAMES)
def test_the_page_and_the_document_of_a_board(board: str) -> None:
    found = examine(board)
    document = json.loads(json.dumps(found.to_json()))
    text = str(found)
    assert document["ok"] is found.ok
    assert [row["name"] for row in document["capabilities"]] == list(status(found))
    assert document["machine"]["device"] == FACTS[board][0]
    assert all(line.isprintable() and line == line.rstrip() for line in text.splitlines())
    for capability in found.capabilities:
        assert capability.detail in text
        assert capability.fix is None or f"mend: {capability.fix}" in text
        assert capability.status in ("missing", "unsupported") or capability.fix is None
    assert "another machine's files" in found.notes[-1]


def test_rails_are_those_of_the_table() -> None:
    for board in ("orin-jetpack6", "thor-jetpack7", "xavier-jetpack5"):
        found = examine(board)
        assert found.machine.device is not None
        assert [sensor.rail for sensor in found.sensors] == list(found.machine.device.rails)
        assert {sensor.kind for sensor in found.sensors} <= set(found.machine.device.sensors)
        assert all(sensor.fault is None for sensor in found.sensors)
    assert examine("raspberry-pi-5").sensors == ()
    kinds = [(sensor.kind, sensor.rail, sensor.fault is None) for sensor in examine("x86-nvidia").sensors]
    assert kinds == [("powercap", "package-0", True), ("nvml", "gpu", False)]


# What works on them.


def test_orin_with_jetpack_6_takes_tensorrt_10() -> None:
    found = examine("orin-jetpack6")
    engine = one(found, "TensorRT engine")
    assert (found.ok, engine.status, engine.needed) == (True, "untested", True)
    assert "--target tensorrt-10.3`" in engine.detail
    assert "built no engine" in engine.detail
    assert "not run on a Jetson" in found.notes[0]
    assert "PyTorch wheel that NVIDIA publishes" in (one(found, "capture and train").fix or "")
    assert "PyTorch wheel that NVIDIA publishes" in (one(found, "ONNX export").fix or "")


def test_thor_lacks_the_python_package_of_its_tensorrt() -> None:
    engine = one(examine("thor-jetpack7"), "TensorRT engine")
    assert (engine.status, engine.failed) == ("missing", True)
    assert "libnvinfer 10.13.3" in engine.detail
    assert "python3-libnvinfer" in (engine.fix or "")


def test_xavier_is_unsupported_for_want_of_strong_typing() -> None:
    found = examine("xavier-jetpack5")
    engine = one(found, "TensorRT engine")
    assert (found.ok, engine.status, engine.fix) == (False, "unsupported", None)
    assert "strongly typed" in engine.detail
    assert "JetPack 5.1.2" in engine.detail
    assert one(found, "Triton kernels").status == "unsupported"


def test_a_raspberry_pi_needs_onnx_runtime_alone() -> None:
    found = examine("raspberry-pi-5")
    assert [capability.name for capability in found.capabilities if capability.needed] == ["ONNX Runtime"]
    assert (found.ok, status(found)["ONNX Runtime INT8, exact"]) == (True, "untested")
    assert one(found, "TensorRT engine").fix is None


def test_a_computer_with_everything() -> None:
    found = examine("x86-nvidia")
    assert found.ok
    assert status(found) == {
        "capture and train": "ready",
        "C++ kernels": "ready",
        "Triton kernels": "untested",
        "ONNX export": "ready",
        "ONNX Runtime": "ready",
        "ONNX Runtime INT8, exact": "ready",
        "TensorRT engine": "untested",
        "energy": "untested",
    }
    assert "--target tensorrt-11`" in one(found, "TensorRT engine").detail


def test_a_computer_with_little() -> None:
    found = examine("x86-no-driver")
    assert [capability.name for capability in found.capabilities if capability.failed] == [
        "capture and train",
        "ONNX export",
    ]
    assert "2.8.0+cpu is older than 2.9" in one(found, "capture and train").detail
    assert "without a driver" in one(found, "TensorRT engine").detail
    assert one(found, "ONNX Runtime INT8, exact").status == "unsupported"
    assert "saturate" in one(found, "ONNX Runtime INT8, exact").detail


def test_an_empty_tree_is_a_computer_that_has_nothing(tmp_path: Path) -> None:
    found = doctor.examine(tmp_path)
    assert not found.ok
    assert found.sensors == ()
    assert set(status(found).values()) == {"missing"}
    assert found.machine.architecture is None


# Turns of the same boards.


def install(root: Path, name: str, version: str) -> None:
    for old in root.glob(f"usr/lib/python3*/*-packages/{name}-*"):
        shutil.rmtree(old)
    file = root / f"usr/lib/python3/dist-packages/{name}-{version}.dist-info/METADATA"
    file.parent.mkdir(parents=True)
    file.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


RELEASE = "# R{} (release), REVISION: {}, GCID: 1, BOARD: generic, EABI: aarch64, DATE: now\n"


@pytest.mark.parametrize(
    ("release", "tensorrt", "expected", "words"),
    [
        (("36", "4.3"), "10.3.0", "untested", "--target tensorrt-10.3`"),
        (("36", "4.3"), "10.7.0", "untested", "--target tensorrt-10`"),
        (("36", "4.3"), "11.4.1", "unsupported", "needs JetPack 7.2.2"),
        (("39", "2.1"), "11.4.1", "untested", "needs JetPack 7.2.2"),
        (("39", "2.1"), "10.16.2", "untested", "--target tensorrt-10`"),
        (("36", "4.3"), "12.0.0", "unsupported", "does not know TensorRT 12"),
        (("36", "4.3"), "10.0.1", "unsupported", "older than 10.3"),
        (("36", "3.0"), "8.6.2", "unsupported", "JetPack 6.0 brings TensorRT 8.6"),
        (("35", "4.1"), "8.5.2", "unsupported", "JetPack 5.1.2 brings TensorRT 8.5"),
        (("99", "0.0"), "10.3.0", "untested", "--target tensorrt-10.3`"),
    ],
)
def test_tensorrt_beside_jetpack(
    tmp_path: Path, release: tuple[str, str], tensorrt: str, expected: str, words: str
) -> None:
    root = copied(tmp_path, "orin-jetpack6")
    (root / "etc/nv_tegra_release").write_text(RELEASE.format(*release))
    install(root, "tensorrt", tensorrt)
    found = doctor.examine(root)
    engine = one(found, "TensorRT engine")
    assert (engine.status, found.ok) == (expected, expected != "unsupported")
    assert words in engine.detail
    if "brings TensorRT 8" in engine.detail:
        assert engine.fix == "flash JetPack 6 (TensorRT 10.3) with NVIDIA SDK Manager"
    assert ("newer or older than what edgekit knows" in " ".join(found.notes)) == (release[0] == "99")


def test_a_container_without_the_release_file(tmp_path: Path) -> None:
    for board, engine in (("orin-jetpack6", "untested"), ("xavier-jetpack5", "unsupported")):
        root = copied(tmp_path, board)
        (root / "etc/nv_tegra_release").unlink()
        found = doctor.examine(root)
        assert found.machine.is_jetson
        assert status(found)["TensorRT engine"] == engine
        assert "a container?" in " ".join(found.notes)


def test_a_kernel_that_is_not_nvidias_is_noted(tmp_path: Path) -> None:
    root = copied(tmp_path, "orin-jetpack6")
    (root / "proc/sys/kernel/osrelease").write_text("6.12.0-custom\n")
    assert "6.12.0-custom is not NVIDIA's" in " ".join(doctor.examine(root).notes)


def test_no_library_at_all_is_mended_by_jetpack(tmp_path: Path) -> None:
    root = copied(tmp_path, "thor-jetpack7")
    shutil.rmtree(root / "usr")
    assert one(doctor.examine(root), "TensorRT engine").fix == "sudo apt-get install nvidia-jetpack"


def test_a_gpu_that_this_user_may_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = copied(tmp_path, "orin-jetpack6")
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "dev" not in Path(path).parts and real(path, mode))
    engine = one(doctor.examine(root), "TensorRT engine")
    assert (engine.status, engine.fix) == ("missing", capabilities.JOIN_GROUPS)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("NVIDIA H100 80GB HBM3", "datacenter-gpu"),
        ("NVIDIA A100-SXM4-40GB", "datacenter-gpu"),
        ("NVIDIA L4", "datacenter-gpu"),
        ("NVIDIA RTX A2000", "x86-rtx"),
        ("Tesla K80", None),
        ("NVIDIA GeForce GTX 1080", None),
    ],
)
def test_a_computer_is_told_by_its_gpu(tmp_path: Path, name: str, row: str | None) -> None:
    root = copied(tmp_path, "x86-nvidia")
    (root / "proc/driver/nvidia/gpus/0000:01:00.0/information").write_text(f"Model: \t\t {name}\n")
    found = doctor.examine(root).machine
    assert (found.gpus, found.device.name if found.device else None) == ((name,), row)


def test_only_a_display_controller_of_nvidias_is_a_gpu(tmp_path: Path) -> None:
    root = copied(tmp_path, "x86-no-driver")
    assert doctor.examine(root).machine.gpu_on_bus
    (root / "sys/bus/pci/devices/0000:01:00.0/class").write_text("0x040300\n")  # its sound
    found = doctor.examine(root)
    assert not found.machine.gpu_on_bus
    assert "no NVIDIA GPU here" in one(found, "TensorRT engine").detail


def test_the_driver_of_a_proprietary_and_of_an_open_module() -> None:
    assert {examine(board).machine.driver for board in ("x86-nvidia", "orin-jetpack6")} == {"580.95.05", "540.4.0"}


# Sensors.


def test_a_rail_that_is_off_missing_or_no_number_says_so(tmp_path: Path) -> None:
    root = copied(tmp_path, "orin-jetpack6")
    chip = root / "sys/class/hwmon/hwmon1"
    (chip / "in1_enable").write_text("0\n")
    (chip / "curr2_input").unlink()
    (chip / "in3_input").write_text("N/A\n")
    faults = {sensor.rail: sensor.fault for sensor in doctor.examine(root).sensors}
    assert faults == {
        "VDD_GPU_SOC": "the channel is switched off",
        "VDD_CPU_CV": "the file is missing",
        "VIN_SYS_5V0": "it does not give a number",
        "VDDQ_VDD2_1V8AO": None,
    }


def test_a_counter_of_root_alone_is_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, real = copied(tmp_path, "x86-nvidia"), os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "energy_uj" and real(path, mode))
    rapl = doctor.examine(root).sensors[0]
    assert (rapl.fault, rapl.denied) == (sensors.DENIED, True)


def test_the_older_driver_of_a_nano(tmp_path: Path) -> None:
    root = copied(tmp_path, "xavier-jetpack5")
    shutil.rmtree(root / "sys")
    (root / "etc/nv_tegra_release").write_text(RELEASE.format("32", "7.1"))
    (root / "proc/device-tree/compatible").write_bytes(b"nvidia,p3450-0000\0nvidia,jetson-nano\0nvidia,tegra210\0")
    port = root / "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    port.mkdir(parents=True)
    for channel, rail in enumerate(("POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU")):
        (port / f"rail_name_{channel}").write_text(f"{rail}\n")
        (port / f"in_power{channel}_input").write_text("1540\n")
    found = doctor.examine(root)
    assert found.machine.device is targets.device("nano")
    assert [sensor.rail for sensor in found.sensors] == list(targets.device("nano").rails)
    assert all(sensor.kind == "ina3221x" and sensor.fault is None for sensor in found.sensors)


def test_readers_are_those_of_the_bench() -> None:
    assert {opener.__module__.rpartition(".")[2] for opener in power.RAILS} == sensors.READERS


def test_energy_is_ready_only_with_a_reader() -> None:
    def judged(*found: sensors.Sensor) -> doctor.Capability:
        here = examine("x86-no-driver")
        return capabilities.energy(capabilities.Facts(here.machine, here.software, found))

    readable = sensors.Sensor("nvml", "gpu", "call", None)
    assert judged(readable).status == "ready"
    assert judged(sensors.Sensor("powercap", "package-0", "file", None)).status == "unsupported"
    assert judged(sensors.Sensor("nvml", "gpu", "call", "lost")).status == "missing"
    assert "lost" in judged(sensors.Sensor("nvml", "gpu", "call", "lost")).detail
