"""What could measure power here, whether this user may read it, and whether edgekit has a reader for it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekit.device import read_line
from edgekit.doctor.machine import Machine, children, printable

READERS = frozenset({"nvml"})
"""Kinds that ``edgekit bench`` reads; a test compares it with ``edgekit.bench.power.RAILS``."""

DENIED = "this user may not read it"
UNASKED = "NVML can be asked on the machine itself only"


@dataclass(frozen=True)
class Sensor:
    """One power rail or energy counter.

    Attributes:
        kind: driver that reports it, ``ina3221``.
        rail: its name.
        source: the file or call that is read, without the root.
        fault: why it cannot be read; None if it can.
        denied: whether it is the rights of this user that are missing.
    """

    kind: str
    rail: str
    source: str
    fault: str | None
    denied: bool = False


def find(root: Path, live: bool, machine: Machine) -> tuple[Sensor, ...]:
    """Every sensor under ``root`` of a kind that edgekit knows; on this machine the GPU's counter too."""
    return tuple(_hwmon(root, machine)) + tuple(_iio(root)) + tuple(_powercap(root)) + tuple(_nvml(live, machine))


def _hwmon(root: Path, machine: Machine) -> Iterator[Sensor]:
    for chip in children(root / "sys/class/hwmon", "hwmon*"):
        kind = read_line(chip / "name")
        if kind == "ina3221":
            yield from _ina3221(root, chip)
        elif kind == "ina238":
            yield _ina238(root, chip, machine)


def _ina3221(root: Path, chip: Path) -> Iterator[Sensor]:
    """Three channels, each millivolt and milliampere: kernel documentation, hwmon/ina3221."""
    for channel in "123":
        rail = printable(read_line(chip / f"in{channel}_label"))
        if rail is None or rail == "NC":  # not connected
            continue
        volts, amperes = chip / f"in{channel}_input", chip / f"curr{channel}_input"
        if read_line(chip / f"in{channel}_enable") == "0":
            yield Sensor("ina3221", rail, _below(root, volts), "the channel is switched off")
            continue
        yield _sensor("ina3221", rail, root, volts, amperes)


def _ina238(root: Path, chip: Path, machine: Machine) -> Sensor:
    """One channel in microwatt; without a label it is what the device's row calls the whole board."""
    total = machine.device.total_rail if machine.device is not None else None
    rail = printable(read_line(chip / "label")) or total or "unnamed"
    return _sensor("ina238", rail, root, chip / "power1_input")


def _iio(root: Path) -> Iterator[Sensor]:
    """JetPack 4's own INA3221 driver, milliwatt."""
    for chip in children(root / "sys/bus/i2c/drivers/ina3221x", "*-*"):
        for port in children(chip, "iio:device*"):
            for channel in "012":
                rail = printable(read_line(port / f"rail_name_{channel}"))
                if rail is not None:
                    yield _sensor("ina3221x", rail, root, port / f"in_power{channel}_input")


def _powercap(root: Path) -> Iterator[Sensor]:
    """Packages of Intel's and AMD's RAPL, microjoule; the zones below a package are parts of it."""
    for zone in children(root / "sys/class/powercap", "intel-rapl:*"):
        rail = printable(read_line(zone / "name"))
        if rail is not None and zone.name.count(":") == 1:
            yield _sensor("powercap", rail, root, zone / "energy_uj")


def _nvml(live: bool, machine: Machine) -> Iterator[Sensor]:
    if machine.driver is None or (machine.is_jetson and not live):
        return  # Jetsons up to Orin have NVML without any counter: HazyResearch/intelligence-per-watt issue 40
    call = "nvmlDeviceGetTotalEnergyConsumption"
    if not live:
        yield Sensor("nvml", "gpu", call, UNASKED)
        return
    from edgekit.bench import nvml
    from edgekit.bench.rail import NoRail

    rail = nvml.open_rail()
    yield Sensor("nvml", "gpu", call, printable(rail.reason, 400) if isinstance(rail, NoRail) else None)


def _sensor(kind: str, rail: str, root: Path, *files: Path) -> Sensor:
    faults = [(path, fault) for path in files if (fault := _fault(path))]
    if not faults:
        return Sensor(kind, rail, _below(root, files[0]), None)
    path, fault = faults[0]
    return Sensor(kind, rail, _below(root, path), fault, denied=fault == DENIED)


def _fault(path: Path) -> str | None:
    if not os.path.exists(path):
        return "the file is missing"
    if not os.access(path, os.R_OK):
        return DENIED
    return None if re.fullmatch(r"-?[0-9]{1,18}", read_line(path) or "") else "it does not give a number"


def _below(root: Path, path: Path) -> str:
    return f"/{path.relative_to(root)}"
