"""What machine this is: the facts a measurement needs beside it, read from the kernel's files.

A fact that cannot be read is ``None``; nothing is guessed. Standard library only: versions come from package metadata.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from importlib import metadata
from pathlib import Path

ROOT = Path("/")

# Kernel spelling -> the word used in edgekit, for the instruction sets that an INT8 kernel cares about.
CPU_FLAGS = {
    "avx2": "avx2",
    "fma": "fma",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "avx_vnni_int8": "avx_vnni_int8",
    "amx_int8": "amx_int8",
    "neon": "neon",
    "asimd": "neon",
    "asimddp": "neon_dotprod",
    "i8mm": "neon_i8mm",
    "sve": "sve",
    "sve2": "sve2",
}

# Package -> the distributions that may bring it; the first one installed gives the version.
PACKAGES = {
    "numpy": ("numpy",),
    "torch": ("torch",),
    "onnx": ("onnx",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "triton": ("triton",),
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
}

LIMIT = 1 << 20  # bytes of a kernel file that are read: more than any has, less than a broken one may give

HARDWARE = ("machine", "board", "cpu", "cores", "cpu_flags", "memory_gib")


def describe(root: Path = ROOT) -> dict[str, object]:
    """Describes this machine as plain JSON: hardware, operating system, versions; ``None`` where a fact is unknown.

    Args:
        root: where ``/proc``, ``/sys`` and ``/etc`` are looked for.
    """
    return {
        **hardware(root),
        "cores_available": _cores_available(),
        "os": os_name(root),
        "kernel": platform.release() or None,
        "governor": read_line(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "turbo": _turbo(root),
        "python": platform.python_version(),
        "edgekit": _version(("edgekit",)),
        "packages": {package: _version(names) for package, names in PACKAGES.items()},
        "fingerprint": fingerprint(root),
    }


def hardware(root: Path = ROOT) -> dict[str, object]:
    """The part of :func:`describe` that changes only when the machine does."""
    return {
        "machine": platform.machine() or None,
        "board": read_line(root / "proc/device-tree/model"),
        "cpu": _cpu_model(root),
        "cores": os.cpu_count(),
        "cpu_flags": list(cpu_flags(root)),
        "memory_gib": memory_gib(root),
    }


def fingerprint(root: Path = ROOT) -> str:
    """Twelve hex digits that are equal on equal hardware; times under different fingerprints are not comparable."""
    return hashlib.sha256(json.dumps(hardware(root), sort_keys=True).encode()).hexdigest()[:12]


def has_vnni(root: Path = ROOT) -> bool:
    """Whether the CPU multiplies u8 by s8 without saturating at int16 (AVX-512 VNNI or AVX-VNNI)."""
    return bool({"avx512_vnni", "avx_vnni"} & set(cpu_flags(root)))


def is_x86() -> bool:
    """Whether this is an x86-64 machine."""
    return platform.machine().lower() in ("x86_64", "amd64")


def cpu_flags(root: Path = ROOT) -> tuple[str, ...]:
    """The instruction sets of :data:`CPU_FLAGS` that the kernel reports, in that order."""
    reported = (cpuinfo(root, "flags") or cpuinfo(root, "Features") or "").split()
    return tuple(dict.fromkeys(word for kernel, word in CPU_FLAGS.items() if kernel in reported))


def read_line(path: Path) -> str | None:
    """First line of a kernel file, stripped; ``None`` where it cannot be read or is empty."""
    lines = (read_text(path) or "").replace("\0", "").splitlines()
    return (lines[0].strip() or None) if lines else None


def read_text(path: Path) -> str | None:
    """Text of a kernel file, its first MiB; ``None`` where it cannot be read. A pipe nobody writes to is empty."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            return (file.read(LIMIT) or b"").decode("utf-8", errors="replace")
    except OSError:
        return None


def cpuinfo(root: Path, key: str) -> str | None:
    """Value of the first line ``key : value`` of ``/proc/cpuinfo``; ``None`` where there is none."""
    for line in (read_text(root / "proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip() or None
    return None


def _cpu_model(root: Path) -> str | None:
    return cpuinfo(root, "model name") or cpuinfo(root, "Model") or platform.processor() or None


def memory_gib(root: Path) -> int | None:
    """Rounded to GiB: the kernel's reserve differs from boot to boot, the hardware does not."""
    for line in (read_text(root / "proc/meminfo") or "").splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "MemTotal:" and re.fullmatch("[0-9]{1,15}", words[1]):
            return round(int(words[1]) / 2**20)
    return None


def _cores_available() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def os_name(root: Path) -> str | None:
    """The operating system as it calls itself, ``Ubuntu 22.04.5 LTS``."""
    for line in (read_text(root / "etc/os-release") or "").splitlines():
        name, _, value = line.partition("=")
        if name == "PRETTY_NAME":
            return value.strip().strip('"') or None
    return platform.system() or None


def _turbo(root: Path) -> bool | None:
    """Whether the clock may rise above its nominal value; Intel's driver says the opposite of everyone else's."""
    cpu = root / "sys/devices/system/cpu"
    boost, no_turbo = read_line(cpu / "cpufreq/boost"), read_line(cpu / "intel_pstate/no_turbo")
    if no_turbo in ("0", "1"):
        return no_turbo == "0"
    return boost == "1" if boost in ("0", "1") else None


def _version(distributions: tuple[str, ...]) -> str | None:
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None
