"""The doctor on files that are not what they should be: it says what it can, and none of them steers the terminal."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from board_trees import NAMES, copied, status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit import doctor
from edgekit.doctor import software


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


GARBAGE = {
    "empty": b"",
    "binary": bytes(range(256)) * 4,
    "nul": b"\0" * 1000,
    "escape": b"\x1b[31mred\x1b[0m\r\n\x07",
    "long line": b"9" * 100_000,
    "not numbers": "²٣ : ²\nMemTotal: ² kB\n".encode(),
    "colons": b":::\n::\n:\n",
}


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize("board", ["orin-jetpack6", "x86-nvidia"])
def test_garbage_in_every_file_at_once(tmp_path: Path, board: str, kind: str) -> None:
    root = copied(tmp_path, board)
    for path in files(root):
        path.write_bytes(GARBAGE[kind])
    assert_sane(doctor.examine(root))


@pytest.mark.parametrize("board", NAMES)
def test_garbage_in_one_file_at_a_time(tmp_path: Path, board: str) -> None:
    root = copied(tmp_path, board)
    for path in files(root):
        good = path.read_bytes()
        path.write_bytes(b"\xff\xfe \x1b[2J\0\n" + good)
        assert_sane(doctor.examine(root))
        path.write_bytes(good)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_bytes_in_the_files_that_are_parsed(tmp_path: Path, data: st.DataObject) -> None:
    names = (
        "etc/nv_tegra_release", "etc/os-release", "proc/cpuinfo", "proc/meminfo", "proc/device-tree/model",
        "proc/device-tree/compatible", "proc/driver/nvidia/version", "proc/driver/nvidia/gpus/0/information",
        "sys/class/hwmon/hwmon0/name", "sys/class/hwmon/hwmon0/in1_label", "sys/class/hwmon/hwmon0/in1_input",
    )  # fmt: skip
    pieces = st.sampled_from(
        [b"# R36 (release), REVISION: ", b"4.3", b"ina3221", b"nvidia,p3701-0000", b": ", b"\n", b"\0"]
    )
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(data.draw(st.lists(pieces | st.binary(max_size=20), max_size=8))))
    assert_sane(doctor.examine(tmp_path))


def test_files_that_are_folders_pipes_loops_devices_or_endless(tmp_path: Path) -> None:
    root = copied(tmp_path, "orin-jetpack6")
    for number, path in enumerate(files(root)):
        path.unlink()
        if number % 5 == 0:
            path.mkdir()
        elif number % 5 == 1:
            os.mkfifo(path)
        elif number % 5 == 2:
            path.symlink_to(path)
        elif number % 5 == 3:
            path.symlink_to("/dev/zero")
        else:
            with path.open("wb") as file:
                file.truncate(1 << 40)
    assert_sane(doctor.examine(root))


def test_folders_that_are_files(tmp_path: Path) -> None:
    root = copied(tmp_path, "x86-nvidia")
    for name in ("sys/class/powercap", "proc/driver/nvidia/gpus", "sys/bus/pci/devices", "usr/local/lib", "dev"):
        shutil.rmtree(root / name)
        (root / name).write_text("a file\n")
    assert_sane(doctor.examine(root))


def test_thousands_of_chips_are_cut_off(tmp_path: Path) -> None:
    for number in range(500):
        chip = tmp_path / f"sys/class/hwmon/hwmon{number}"
        chip.mkdir(parents=True)
        (chip / "name").write_text("ina238\n")
    assert len(doctor.examine(tmp_path).sensors) == 64


def assert_sane(found: doctor.Examination) -> None:
    text = str(found)
    assert len(text) < 60_000
    assert all(line.isprintable() for line in text.splitlines())
    json.dumps(found.to_json(), allow_nan=False)
    assert found.machine.l4t is None or re.fullmatch(r"[0-9.]+", found.machine.l4t)


def test_escape_codes_do_not_reach_the_terminal(tmp_path: Path) -> None:
    root = copied(tmp_path, "orin-jetpack6")
    (root / "proc/device-tree/model").write_bytes(b"\x1b]0;owned\x07Evil\xe2\x80\xaeboard\0")
    (root / "sys/class/hwmon/hwmon1/in1_label").write_bytes(b"VDD\x1b[2J\n")
    found = doctor.examine(root)
    assert found.machine.board == "?]0;owned?Evil?board"
    assert "VDD?[2J" in str(found)
    assert "\x1b" not in str(found)


@pytest.mark.parametrize("metadata", [None, b"", b"\xff\xfe\0", b"Name: torch\n", b"Version: \x1b[31m\n"])
def test_broken_package_metadata_is_not_installed_or_says_what_it_is(tmp_path: Path, metadata: bytes | None) -> None:
    folder = tmp_path / "usr/lib/python3/dist-packages/torch-2.13.0.dist-info"
    folder.mkdir(parents=True)
    if metadata is not None:
        (folder / "METADATA").write_bytes(metadata)
    found = doctor.examine(tmp_path)
    assert status(found)["capture and train"] == "missing"
    assert "\x1b" not in str(found)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("2.13.0+cpu", (2, 13, 0)), ("10", (10,)), ("", ()), ("v2", ()), ("1.x", (1,)), ("9" * 50, (999999999,))],
)
def test_versions(text: str, numbers: tuple[int, ...]) -> None:
    assert software.parse(text) == numbers
