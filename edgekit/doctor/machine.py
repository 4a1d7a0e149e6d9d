"""Facts of a machine, from its kernel's files; ``None`` where a fact cannot be read. Nothing is guessed."""

from __future__ import annotations

import fnmatch
import importlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgekit import device, targets

GpuNodes = Literal["usable", "denied", "none"]

# Any one of them lets a process use the GPU: the discrete driver and Thor, JetPack 6, JetPack 5 and before.
GPU_NODES = ("dev/nvidiactl", "dev/nvgpu/igpu0/ctrl", "dev/nvhost-gpu")

# Implementer and part of Arm's MIDR register, by the Linux kernel's arch/arm64/include/asm/cputype.h.
ARM_CORES = {
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd83"): "Neoverse-V3AE",
    ("0x4e", "0x003"): "NVIDIA Denver 2",
    ("0x4e", "0x004"): "NVIDIA Carmel",
}

DATA_CENTRE = re.compile(r"\b(A(2|10|16|30|40|100|800)|H(20|100|200|800)|L(4|20|40S?)|B(100|200|300))\b")


@dataclass(frozen=True)
class Machine:
    """What a machine is.

    Attributes:
        architecture: ``x86_64`` or ``aarch64``.
        kernel, os: release of the kernel; name of the distribution.
        board: model of the device tree.
        device: its row in ``targets.toml``; None if it has none.
        l4t: release of Jetson Linux, ``36.4.3``.
        cpu, cpu_flags: processor, and the instruction sets that an INT8 kernel cares about.
        memory_gib: memory, rounded.
        gpus, compute_capability: of each NVIDIA GPU, the latter only where NVML or the device's row says it.
        driver: version of the NVIDIA driver.
        gpu_on_bus: whether a PCI device of NVIDIA's is a display controller, with a driver or without.
        gpu_nodes: whether this user may open the GPU.
    """

    architecture: str | None
    kernel: str | None
    os: str | None
    board: str | None
    device: targets.Device | None
    l4t: str | None
    cpu: str | None
    cpu_flags: tuple[str, ...]
    memory_gib: int | None
    gpus: tuple[str, ...]
    compute_capability: tuple[str, ...]
    driver: str | None
    gpu_on_bus: bool
    gpu_nodes: GpuNodes

    @property
    def is_jetson(self) -> bool:
        """Whether this is a Jetson, known to the table or not."""
        return self.l4t is not None or (self.device is not None and self.device.is_jetson)

    @property
    def is_board(self) -> bool:
        """Whether this is a board that models are brought to, and not a computer that they are made on."""
        return self.is_jetson or (self.device is not None and bool(self.device.matches))

    @property
    def stack(self) -> targets.Stack | None:
        """The JetPack line that runs here; None if there is none, or none that the table knows of this board."""
        return self.device.stack_of(self.l4t) if self.device is not None and self.l4t is not None else None

    @property
    def jetpack(self) -> str | None:
        """JetPack that the release of Jetson Linux belongs to, ``6.2``."""
        return targets.jetpack(self.l4t) if self.l4t is not None else None

    def to_json(self) -> dict[str, Any]:
        """The facts as plain JSON values; device and JetPack line by name."""
        names = {"device": self.device and self.device.name, "stack": self.stack and self.stack.name}
        return {**vars(self), **names, "jetpack": self.jetpack}


def look(root: Path, live: bool) -> Machine:
    """Reads the facts under ``root``; NVML is asked only if that is this machine."""
    architecture, on_bus = _architecture(root), _gpu_on_bus(root)
    driver, cards = _driver(root), _nvml() if live else ()
    gpus = tuple(name for name, _ in cards) or _gpu_names(root)
    row = targets.recognise(_compatible(root)) or _computer(architecture, driver, gpus)
    return Machine(
        architecture=architecture,
        kernel=_line(root / "proc/sys/kernel/osrelease"),
        os=printable(device.os_name(root)),
        board=_line(root / "proc/device-tree/model"),
        device=row,
        l4t=_l4t(root),
        cpu=_cpu(root),
        cpu_flags=device.cpu_flags(root),
        memory_gib=device.memory_gib(root),
        gpus=gpus,
        compute_capability=tuple(version for _, version in cards) or _compute_capability(row),
        driver=driver,
        gpu_on_bus=on_bus,
        gpu_nodes=_gpu_nodes(root),
    )


def printable(text: str | None, longest: int = 120) -> str | None:
    """Foreign text, fit for a terminal: control characters as ``?``, cut where it is absurdly long."""
    return "".join(c if c.isprintable() else "?" for c in text[:longest]).strip() or None if text else None


def children(folder: Path, pattern: str, most: int = 64) -> list[Path]:
    """What ``folder`` holds of a pattern, in order; nothing where it cannot be read."""
    try:
        return sorted(folder / name for name in os.listdir(folder) if fnmatch.fnmatchcase(name, pattern))[:most]
    except OSError:
        return []


def _line(path: Path) -> str | None:
    return printable(device.read_line(path))


def _architecture(root: Path) -> str | None:
    """By the words of ``/proc/cpuinfo``: the running kernel's own answer is of no use for a copied tree."""
    if device.cpuinfo(root, "vendor_id") and device.cpuinfo(root, "flags"):
        return "x86_64"
    return "aarch64" if device.cpuinfo(root, "CPU implementer") else None


def _cpu(root: Path) -> str | None:
    part = (device.cpuinfo(root, "CPU implementer") or "", device.cpuinfo(root, "CPU part") or "")
    return printable(device.cpuinfo(root, "model name") or ARM_CORES.get(part))


def _compatible(root: Path) -> list[str]:
    return (device.read_text(root / "proc/device-tree/compatible") or "").split("\0")


def _l4t(root: Path) -> str | None:
    release = re.match(
        r"# R(\d{1,3}) \(release\), REVISION: (\d{1,3}(?:\.\d{1,3}){0,2})\b",
        device.read_line(root / "etc/nv_tegra_release") or "",
        re.ASCII,
    )
    return f"{release[1]}.{release[2]}" if release else None


def _driver(root: Path) -> str | None:
    line = device.read_line(root / "proc/driver/nvidia/version") or ""
    version = re.search(r"Kernel Module(?: for \S{1,20})?\s+(\d{1,4}(?:\.\d{1,4}){1,3})\b", line, re.ASCII)
    return version[1] if version else None


def _gpu_names(root: Path) -> tuple[str, ...]:
    names = []
    for card in children(root / "proc/driver/nvidia/gpus", "*"):
        for line in (device.read_text(card / "information") or "").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "Model":
                names.append(printable(value.strip()) or "unnamed GPU")
    return tuple(names)


def _gpu_on_bus(root: Path) -> bool:
    """NVIDIA is PCI vendor 10de; display controllers are class 03."""
    slots = children(root / "sys/bus/pci/devices", "*", most=4096)
    return any(
        device.read_line(slot / "vendor") == "0x10de" and (device.read_line(slot / "class") or "").startswith("0x03")
        for slot in slots
    )


def _gpu_nodes(root: Path) -> GpuNodes:
    present = [root / node for node in GPU_NODES if os.path.exists(root / node)]
    if not present:
        return "none"
    return "usable" if any(os.access(node, os.R_OK | os.W_OK) for node in present) else "denied"


def _computer(architecture: str | None, driver: str | None, gpus: tuple[str, ...]) -> targets.Device | None:
    """The row of a PC or server, by the name of its GPU."""
    name = " ".join(gpus)
    if driver is not None and DATA_CENTRE.search(name) and "RTX" not in name:
        return targets.device("datacenter-gpu")
    if architecture != "x86_64":
        return None
    if driver is not None and "RTX" in name:
        return targets.device("x86-rtx")
    return targets.device("x86-cpu") if driver is None else None


def _compute_capability(row: targets.Device | None) -> tuple[str, ...]:
    """What the row says, where it leaves no choice."""
    return row.compute_capability if row is not None and len(row.compute_capability) == 1 else ()


def _nvml() -> tuple[tuple[str, str], ...]:
    """Name and compute capability of each GPU; nothing where NVML is not installed or does not answer."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return ()
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        return tuple((_name(nvml, handle), _version(nvml, handle)) for handle in handles)
    except nvml.NVMLError:
        return ()


def _name(nvml: Any, handle: Any) -> str:
    name = nvml.nvmlDeviceGetName(handle)  # bytes before version 11.5
    return printable(name.decode(errors="replace") if isinstance(name, bytes) else str(name)) or "unnamed GPU"


def _version(nvml: Any, handle: Any) -> str:
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    return f"{major}.{minor}"
