"""What is this machine, what works on it, and the command that mends what does not.

Everything is read from the kernel's files, from package metadata and from NVML; torch, onnxruntime and the like are
never imported. All functions take the folder that stands for ``/``, so the tests run them on trees of other boards.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekit.device import ROOT
from edgekit.doctor import capabilities, machine, sensors, software
from edgekit.doctor.capabilities import Capability
from edgekit.doctor.machine import Machine
from edgekit.doctor.sensors import Sensor
from edgekit.doctor.software import Software
from edgekit.errors import UsageError

__all__ = ["Capability", "Examination", "Machine", "Sensor", "Software", "examine"]


@dataclass(frozen=True)
class Examination:
    """What the doctor found.

    Attributes:
        machine: board, processor, GPU and drivers.
        software: packages and the compiled extension.
        sensors: what could measure power.
        capabilities: what works, and what mends what does not.
        notes: what the reader must know about the above, untested facts first of all.
    """

    machine: Machine
    software: Software
    sensors: tuple[Sensor, ...]
    capabilities: tuple[Capability, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing that this kind of machine needs is missing."""
        return not any(capability.failed for capability in self.capabilities)

    def to_json(self) -> dict[str, Any]:
        """The examination as plain JSON values."""
        return {
            "schema": 1,
            "ok": self.ok,
            "machine": self.machine.to_json(),
            "software": asdict(self.software),
            "sensors": [asdict(sensor) for sensor in self.sensors],
            "capabilities": [asdict(capability) for capability in self.capabilities],
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        from edgekit.doctor.text import render

        return render(self)


def examine(root: Path = ROOT) -> Examination:
    """Examines this machine, or a copy of another one's files.

    Args:
        root: where ``/proc``, ``/sys``, ``/etc``, ``/dev`` and ``/usr`` are looked for. Of a copy, NVML is not asked.

    Raises:
        UsageError: ``root`` is no directory.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is no directory.", fix="Name the folder that holds proc, sys and etc.")
    live = root.resolve() == ROOT
    here = machine.look(root, live)
    installed = software.look(root, live)
    found = sensors.find(root, live, here)
    return Examination(here, installed, found, capabilities.judge(here, installed, found), _notes(here, live))


def _notes(here: Machine, live: bool) -> tuple[str, ...]:
    notes = []
    if here.is_jetson:
        notes.append("edgekit was not run on a Jetson: what is said of this board comes from published documents")
        if here.kernel is not None and "tegra" not in here.kernel:
            notes.append(f"kernel {here.kernel} is not NVIDIA's: drivers and sensors may differ")
        if here.l4t is None:
            notes.append("/etc/nv_tegra_release cannot be read (a container?), so the JetPack version is not known")
        elif here.stack is None:
            notes.append(f"Jetson Linux {here.l4t} is newer or older than what edgekit knows of this board")
    elif here.board is not None and here.device is None:
        notes.append(f"edgekit has no row for {here.board}; what is said here rests on its processor and GPU alone")
    elif here.device is not None and here.is_board:
        notes.append(f"edgekit was not run on a {here.device.title}: what is said of it comes from published documents")
    if not live:
        notes.append(
            "these are another machine's files: NVML was not asked, and rights to files were not those of its user"
        )
    return tuple(notes)
