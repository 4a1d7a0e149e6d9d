"""An examination for people: plain lines, no colours, so that it can be pasted into a report of a fault."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from edgekit.doctor.capabilities import Capability
from edgekit.doctor.machine import Machine

if TYPE_CHECKING:
    from edgekit.doctor import Examination


def render(found: Examination) -> str:
    """The examination as lines of text; everything foreign in it was made printable when it was read."""
    return "\n".join(
        [
            *_section("machine", _machine(found.machine)),
            *_section("packages", _packages(found)),
            *_section("power", _power(found)),
            *_section("what works", (line for one in found.capabilities for line in _capability(one))),
            *(f"note: {note}." for note in found.notes),
            _verdict(found),
        ]
    )


def _section(title: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    lines = list(rows)
    width = max((len(name) for name, _ in lines), default=0)
    yield title
    yield from (f"  {name:<{width}}  {text}" for name, text in lines)


def _machine(machine: Machine) -> Iterator[tuple[str, str]]:
    row = f" (row {machine.device.name})" if machine.device is not None else ""
    yield "device", f"{machine.board or (machine.device.title if machine.device else 'not in the table')}{row}"
    yield "system", ", ".join(filter(None, (machine.os, machine.kernel, machine.architecture))) or "unknown"
    if machine.l4t is not None:
        yield "Jetson Linux", _jetson_linux(machine)
    yield (
        "processor",
        f"{machine.cpu or 'unknown'}: {' '.join(machine.cpu_flags) or 'no instruction set that INT8 cares about'}",
    )
    yield "memory", f"{machine.memory_gib} GiB" if machine.memory_gib is not None else "unknown"
    yield "GPU", _gpu(machine)


def _jetson_linux(machine: Machine) -> str:
    jetpack = f"{machine.l4t}, JetPack {machine.jetpack or 'not known'}"
    if machine.stack is None:
        return jetpack
    return f"{jetpack}; it brings TensorRT {machine.stack.tensorrt}, CUDA {machine.stack.cuda}"


def _gpu(machine: Machine) -> str:
    names = ", ".join(machine.gpus) or ("integrated" if machine.is_jetson else "")
    capability = f", compute capability {', '.join(machine.compute_capability)}" if machine.compute_capability else ""
    if machine.driver is not None:
        return f"{names or 'NVIDIA'}{capability}, driver {machine.driver}"
    if machine.is_jetson:
        return f"{names}{capability}, driver version not readable"
    return "NVIDIA, without a driver" if machine.gpu_on_bus else "none of NVIDIA's"


def _packages(found: Examination) -> Iterator[tuple[str, str]]:
    if found.software.python is not None:
        yield "python", found.software.python
    for name, version in found.software.packages.items():
        yield (
            name,
            "-" if version is None else version if found.software.usable(name) else str(found.software.lack(name)),
        )


def _power(found: Examination) -> list[tuple[str, str]]:
    rails = [(f"{sensor.kind} {sensor.rail}", sensor.fault or f"readable, {sensor.source}") for sensor in found.sensors]
    return rails or [("none", "no sensor that edgekit knows")]


def _capability(one: Capability) -> Iterator[tuple[str, str]]:
    yield one.name, f"{one.status}{' (needed)' if one.failed else ''}: {one.detail}"
    if one.fix is not None:
        yield "", f"mend: {one.fix}"


def _verdict(found: Examination) -> str:
    failed = [one.name for one in found.capabilities if one.failed]
    return f"needed and not there: {', '.join(failed)}" if failed else "nothing that is needed here is missing"
