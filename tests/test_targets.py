"""The table of targets: its shape, and that a question gets the row it means."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from edgekit import targets
from edgekit.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = Path(targets.__file__).with_name("targets.toml")
DEVICES = [targets.device(name) for name in targets.device_names()]
STACKS = list(dict.fromkeys(stack for device in DEVICES for stack in device.stacks))
VERSION = re.compile(r"\d+(\.\d+)*")


def raw() -> dict[str, dict[str, Any]]:
    return tomllib.loads(TABLE.read_text())


def test_every_device_asked_for_has_a_row() -> None:
    asked = {
        "jetson-nano", "jetson-tx2", "xavier-nx", "agx-xavier", "orin-nano", "orin-nx", "agx-orin", "thor",
        "x86-rtx", "datacenter-gpu", "raspberry-pi-5", "x86-cpu",
    }  # fmt: skip
    assert asked == set(targets.device_names())


def test_every_row_says_every_cell() -> None:
    kinds = {"device": targets.Device, "stack": targets.Stack, "onnx": targets.OnnxTarget}
    for table, kind in kinds.items():
        cells = {field.name for field in dataclasses.fields(kind)} - {"name"}
        for name, row in raw()[table].items():
            assert set(row) == cells, name


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_cells_of_a_device(device: targets.Device) -> None:
    assert device.title
    assert device.dla in get_args(targets.Answer)
    assert device.sparse in get_args(targets.Answer)
    assert all(re.fullmatch(r"\d+\.\d", version) for version in device.compute_capability)
    for number in (device.int8_multiple, device.fp16_multiple):
        assert number in (None, "unknown") or (isinstance(number, int) and number > 1 and number & (number - 1) == 0)
    assert set(device.sensors) <= {"ina3221", "ina3221x", "ina238", "nvml", "powercap"}
    assert bool(device.sensors) == bool(device.rails)
    assert device.total_rail is None or device.total_rail in device.rails
    assert device.is_jetson == any(sensor.startswith("ina") for sensor in device.sensors)
    assert device.stacks


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
def test_cells_of_a_stack(stack: targets.Stack) -> None:
    assert stack.tensorrt is None or VERSION.fullmatch(stack.tensorrt)
    assert stack.cuda in (None, "unknown") or all(VERSION.fullmatch(v) for v in str(stack.cuda).split(", "))
    assert stack.opset == "unknown" or (isinstance(stack.opset, int) and 9 <= stack.opset <= 30)
    assert stack.l4t in (None, "unknown") or all(VERSION.fullmatch(release) for release in stack.l4t or "x")
    if stack.onnx is None:
        assert stack.tensorrt is not None
        assert stack.tensorrt.startswith("8.")
        return
    row = targets.onnx_target(stack.onnx)
    assert stack.opset == "unknown" or row.opset <= int(stack.opset)  # what is written can be read
    if stack.tensorrt is not None:
        assert f"tensorrt-{stack.tensorrt}.".startswith(f"{row.name}.")


def test_no_stack_is_without_a_device() -> None:
    assert {stack.name for stack in STACKS} == set(raw()["stack"])


def test_spellings_name_one_row_each() -> None:
    spellings = [name for device in DEVICES for name in (device.name, *device.aliases)]
    assert len(spellings) == len(set(spellings))
    for device in DEVICES:
        for name in (device.name, *device.aliases):
            assert targets.device(name) is device


def test_every_cell_has_its_source() -> None:
    """A link or a mark like [support] stands in the comments before or beside the rows."""
    comments = "\n".join(line.partition("#")[2] for line in TABLE.read_text().splitlines())
    for mark in ("support", "opset", "jetpack", "7.2", "11"):
        assert comments.count(f"[{mark}]") >= 2, mark  # said once, used at least once
    for name in raw()["stack"]:
        heading = next(
            line for line in TABLE.read_text().splitlines() if re.match(rf'\[stack\."?{re.escape(name)}"?\]', line)
        )
        assert "#" in heading or name == "onnxruntime", name


@pytest.mark.parametrize(
    ("alias", "name"), [("orin", "agx-orin"), ("xavier", "agx-xavier"), ("rpi5", "raspberry-pi-5")]
)
def test_aliases(alias: str, name: str) -> None:
    assert targets.device(alias).name == name


def test_an_unknown_device_is_refused_with_a_guess() -> None:
    with pytest.raises(UsageError, match="Did you mean 'agx-orin'") as refused:
        targets.device("agx-orn")
    assert "thor" in refused.value.fix
    with pytest.raises(UsageError, match="no export target 'tensorrt-12'"):
        targets.onnx_target("tensorrt-12")


@pytest.mark.parametrize(
    ("name", "onnx"),
    [("orin", "tensorrt-10.3"), ("thor", "tensorrt-10"), ("xavier", None), ("nano", None), ("pi5", "onnxruntime")],
)
def test_a_device_names_its_onnx_target(name: str, onnx: str | None) -> None:
    assert targets.device(name).onnx == onnx


@pytest.mark.parametrize(
    ("compatible", "name"),
    [
        (["nvidia,p3737-0000+p3701-0000", "nvidia,p3701-0000", "nvidia,tegra234"], "agx-orin"),
        (["nvidia,p3737-0000+p3701-0005", "nvidia,tegra234", "nvidia,tegra23x"], "agx-orin"),
        (["nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"], "orin-nano"),
        (["nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234"], "orin-nx"),
        (["nvidia,p4071-0000+p3834-0008", "nvidia,p3834-0008", "nvidia,tegra264"], "thor"),
        (["nvidia,p2972-0000", "nvidia,tegra194"], "agx-xavier"),
        (["nvidia,p3449-0000+p3668-0000", "nvidia,tegra194"], "xavier-nx"),
        (["nvidia,p3450-0000", "nvidia,jetson-nano", "nvidia,tegra210"], "jetson-nano"),
        (["raspberrypi,5-model-b", "brcm,bcm2712"], "raspberry-pi-5"),
        (["raspberrypi,4-model-b", "brcm,bcm2711"], None),
        (["nvidia,p37010-0000", "nvidia,p38340-0008", "nvidia,xp3701-0000", "p3701-0000", ""], None),
        ([], None),
    ],
)
def test_device_trees_are_recognised(compatible: list[str], name: str | None) -> None:
    found = targets.recognise(compatible)
    assert (found.name if found else None) == name


def test_no_two_devices_match_the_same_part() -> None:
    parts = [(part, device.name) for device in DEVICES for part in device.matches]
    for part, name in parts:
        assert [other for match, other in parts if part == match or part.startswith(f"{match}-")] == [name]


@pytest.mark.parametrize(
    ("name", "l4t", "stack"),
    [
        ("orin", "36.4.3", "jetpack-6"),
        ("orin", "36.3.0", "jetpack-6.0"),
        ("orin", "35.4.1", "jetpack-5"),
        ("orin", "39.2.1", "jetpack-7.2"),
        ("orin", "38.2.0", None),
        ("orin", "36.40.0", None),
        ("orin", "3", None),
        ("orin", "", None),
        ("thor", "38.2.0", "jetpack-7"),
        ("xavier", "36.4.3", None),
        ("nano", "32.7.1", "jetpack-4"),
        ("x86-rtx", "36.4.3", None),
    ],
)
def test_jetson_linux_names_the_stack(name: str, l4t: str, stack: str | None) -> None:
    found = targets.device(name).stack_of(l4t)
    assert (found.name if found else None) == stack


@pytest.mark.parametrize(
    ("l4t", "jetpack"), [("36.4.3", "6.2"), ("36.3", "6.0"), ("35.3.1", "5.1.1"), ("99.0.0", None)]
)
def test_jetpack_of_a_release(l4t: str, jetpack: str | None) -> None:
    assert targets.jetpack(l4t) == jetpack


def test_every_known_release_belongs_to_a_stack() -> None:
    for l4t, jetpack in raw()["jetpack"].items():
        found = {stack.name for stack in STACKS if stack.carries(l4t)}
        assert len(found) == 1, l4t
        assert next(iter(found)).split("-")[1].split(".")[0] == jetpack.split(".")[0]
