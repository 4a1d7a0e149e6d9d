"""What kernels are compiled for: a device with the software it runs, or a bare architecture such as ``sm_90``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit import targets
from edgekit.errors import UnsupportedError, UsageError
from edgekit.export.triton_aot.architectures import architecture
from edgekit.targets import UNKNOWN, Device, Stack

BASE_CUDA = (12, 6)  # where nothing names a minor version: the oldest that current torch wheels are built for
PLUGINS_SINCE = (10, 16)  # TensorRT whose ahead-of-time plugins were checked against its own bindings


@dataclass(frozen=True)
class Target:
    """One directory of kernels.

    Attributes:
        name: of the directory, ``agx-orin``.
        title: in words.
        capability: 87 for 8.7.
        cuda: version that the driver of the device accepts at least.
        tensorrt: what ``targets.toml`` says of it; None without.
        ptx: version of the PTX, 85 for 8.5.
    """

    name: str
    title: str
    capability: int
    cuda: tuple[int, int]
    tensorrt: str | None
    ptx: int

    @property
    def has_plugins(self) -> bool:
        """Whether its TensorRT takes kernels as ahead-of-time plugins; "10" stands for the last of that line."""
        numbers = tuple(int(part) for part in re.findall(r"\d+", self.tensorrt or ""))
        return bool(numbers) and numbers >= PLUGINS_SINCE[: len(numbers)]


def resolve(names: Sequence[str]) -> tuple[Target, ...]:
    """The targets of these names, each once.

    Args:
        names: a device of ``targets.toml`` or an alias (``orin``), with another line of software than its first behind
            a colon (``orin:jetpack-7.2``), or an architecture (``sm_90``).

    Raises:
        UsageError: there is no such device, architecture or line, or nothing is named.
        UnsupportedError: Triton has no INT8 for it, or its CUDA is too old for its architecture.
    """
    found = {target.name: target for name in names for target in _resolve(name)}
    if not found:
        raise UsageError("no target is named.", fix="Name a device such as orin, or an architecture such as sm_90.")
    return tuple(found.values())


def _resolve(name: str) -> tuple[Target, ...]:
    if match := re.fullmatch(r"sm_(\d+)", name):
        capability = int(match[1])
        return (Target(name, name, capability, BASE_CUDA, "10", ptx_version(capability, BASE_CUDA, at_least=True)),)
    start, colon, line = name.partition(":")
    device = targets.device(start)
    stack = _stack(device, line) if colon else device.stacks[0]
    if not device.compute_capability:
        raise UsageError(f"{device.title} has no GPU.", fix="Name a device that has one.")
    return tuple(_target(device, stack, version, bool(colon)) for version in device.compute_capability)


def _stack(device: Device, line: str) -> Stack:
    for stack in device.stacks:
        if stack.name == line:
            return stack
    known = ", ".join(stack.name for stack in device.stacks)
    raise UsageError(f"{device.title} has no software {line!r}.", fix=f"It has {known}.")


def _target(device: Device, stack: Stack, version: str, named: bool) -> Target:
    capability = int(version.replace(".", ""))
    architecture(capability)  # refuses before the software is looked at
    cuda, exact = _cuda(stack)
    name = device.name + (f"-{stack.name}" if named else "")
    name += f"-sm_{capability}" if len(device.compute_capability) > 1 else ""
    ptx = ptx_version(capability, cuda, at_least=not exact)
    return Target(name, f"{device.title}, {stack.title}", capability, cuda, stack.tensorrt, ptx)


def _cuda(stack: Stack) -> tuple[tuple[int, int], bool]:
    """Its CUDA, and whether the table knows the minor version."""
    if stack.cuda == UNKNOWN:
        raise UnsupportedError(f"the CUDA of {stack.title} is not known to edgekit.", fix="Name another line.")
    numbers = re.findall(r"\d+", (stack.cuda or "").split(",")[0])
    return (BASE_CUDA, False) if len(numbers) < 2 else ((int(numbers[0]), int(numbers[1])), True)


def ptx_version(capability: int, cuda: tuple[int, int], *, at_least: bool = False) -> int:
    """The PTX version that a driver of this CUDA accepts, 85 for CUDA 12.6.

    Args:
        capability: 87 for 8.7.
        cuda: major and minor version.
        at_least: the driver may be newer: where ``cuda`` is too old for the architecture, take its first version.

    Raises:
        UnsupportedError: the architecture is younger than this CUDA. Triton would end the whole process.
    """
    version, least = _ptx_of(*cuda), architecture(capability).ptx
    if version >= least:
        return version
    if at_least:
        return least
    what = f"CUDA {cuda[0]}.{cuda[1]} has no PTX for sm_{capability}"
    why = f"it accepts {version / 10:.1f}, and the architecture begins with {least / 10:.1f}."
    raise UnsupportedError(f"{what}:", why, "Name a line of software with a newer CUDA.")


def _ptx_of(major: int, minor: int) -> int:
    """PTX version of a CUDA release: release notes of the PTX ISA; 12.5 and 12.6 share 8.5."""
    if major == 11:
        return 70 + minor
    if major == 12:
        return 80 + (minor if minor < 6 else minor - 1)
    if major == 13:
        return 90 + minor
    raise UnsupportedError(f"edgekit does not know the PTX of CUDA {major}.{minor}.", fix="It knows 11, 12 and 13.")
