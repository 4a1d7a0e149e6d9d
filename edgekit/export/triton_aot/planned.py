"""The launches of a call for one target, compiled, and the memory that they pass each other."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from torch import Tensor

from edgekit.errors import UnsupportedError
from edgekit.export.triton_aot.calls import Call
from edgekit.export.triton_aot.compile import Kernel, compile_kernel
from edgekit.export.triton_aot.specialise import Argument, Specialisation, refuse_interpreter, specialise
from edgekit.export.triton_aot.target import Target
from edgekit.kernels.launch import Launch
from edgekit.ops.spec import results

MOST_ARGUMENTS = 64  # EDGEKIT_MOST_ARGUMENTS of runtime/launcher.h
MOST_KERNELS = 16  # EDGEKIT_MOST_KERNELS, of one call

Role = Literal["input", "output", "workspace"]


@dataclass(frozen=True)
class Buffer:
    """Memory that the caller hands over.

    Attributes:
        name: of the argument; ``out`` or ``out_0`` for results.
        role: workspace lasts from one launch of the call to the next, and no longer.
        tensor: its type and sizes, on "meta".
    """

    name: str
    role: Role
    tensor: Tensor

    @property
    def bytes(self) -> int:
        """Of the memory behind the tensor."""
        return self.tensor.untyped_storage().nbytes()


@dataclass(frozen=True)
class Pointer:
    """A place in a buffer: its number among those of the call, and bytes from its start."""

    buffer: int
    offset: int


@dataclass(frozen=True)
class PlannedLaunch:
    """One launch: a compiled kernel, the programs along each axis, and what every argument points to."""

    kernel: Kernel
    grid: tuple[int, int, int]
    arguments: tuple[tuple[Argument, Pointer | None], ...]


@dataclass(frozen=True)
class PlannedCall:
    """A call with its memory and its launches, in order."""

    call: Call
    buffers: tuple[Buffer, ...]
    launches: tuple[PlannedLaunch, ...]

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """Its kernels, each once."""
        return tuple({launch.kernel.name: launch.kernel for launch in self.launches}.values())


class Planner:
    """Plans calls for one target; a kernel that several launches share is compiled once."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._kernels: dict[str, Kernel] = {}

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """All kernels so far, by name."""
        return tuple(self._kernels[name] for name in sorted(self._kernels))

    def plan(self, call: Call) -> PlannedCall:
        """Plan and compile a call.

        Raises:
            UsageError: this process interprets Triton kernels.
            UnsupportedError: the call has no launch, more kernels or arguments than the launcher takes, operands that
                have to be copied first, or one of its kernels does not compile.
        """
        arguments = list(call.arguments.values())
        out = call.spec.shape(*arguments)
        launches = self._launches(call, arguments, out)
        buffers = _buffers(call, results(out), launches)
        _refuse_copies(call, buffers, launches)
        planned = PlannedCall(call, buffers, tuple(self._planned(launch, buffers) for launch in launches))
        if len(planned.kernels) > MOST_KERNELS:
            raise UnsupportedError(f"{call.name} has {len(planned.kernels)} kernels, more than {MOST_KERNELS}.")
        return planned

    def _launches(self, call: Call, arguments: list[object], out: object) -> tuple[Launch, ...]:
        module = import_module(f"edgekit.kernels.{call.spec.name}")
        launches: tuple[Launch, ...] = module.plan(
            *arguments, out=out, capability=(self.target.capability // 10, self.target.capability % 10)
        )
        if not launches:
            raise UnsupportedError(f"{call.name} launches nothing.", fix="Leave out calls with a size of zero.")
        for launch in launches:
            refuse_interpreter(launch.kernel)
        return launches

    def _planned(self, launch: Launch, buffers: Sequence[Buffer]) -> PlannedLaunch:
        specialisation = specialise(launch)
        kernel = self._compiled(specialisation)
        if len(kernel.entry.parameters) > MOST_ARGUMENTS:
            raise UnsupportedError(f"{kernel.name} has more than {MOST_ARGUMENTS} parameters.")
        x, y, z = (*launch.grid, 1, 1)[:3]
        arguments = tuple((a, _pointer(a.value, buffers)) for a in specialisation.arguments)
        return PlannedLaunch(kernel, (x, y, z), arguments)

    def _compiled(self, specialisation: Specialisation) -> Kernel:
        name = specialisation.name
        if name not in self._kernels:
            self._kernels[name] = compile_kernel(specialisation, self.target)
        return self._kernels[name]


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _buffers(call: Call, out: tuple[Tensor, ...], launches: Iterable[Launch]) -> tuple[Buffer, ...]:
    """Inputs in the operator's order, results, and what the launches need besides."""
    found: dict[int, Buffer] = {}
    names = ("out",) if len(out) == 1 else tuple(f"out_{number}" for number in range(len(out)))
    given: list[tuple[str, Role, Tensor]] = [(name, "input", tensor) for name, tensor in call.inputs.items()]
    given += [(name, "output", tensor) for name, tensor in zip(names, out, strict=True)]
    for name, role, tensor in given:
        found[_storage(tensor)] = Buffer(name, role, tensor)
    number = itertools.count()
    for launch in launches:
        for value in launch.arguments.values():
            if isinstance(value, Tensor) and _storage(value) not in found:
                found[_storage(value)] = Buffer(f"workspace_{next(number)}", "workspace", value)
    return tuple(found.values())


def _refuse_copies(call: Call, buffers: Iterable[Buffer], launches: Sequence[Launch]) -> None:
    """Workspace goes from one launch to the next; what a single one reads was copied by torch, which is not there."""
    told = [{_storage(v) for v in launch.arguments.values() if isinstance(v, Tensor)} for launch in launches]
    for buffer in buffers:
        if buffer.role == "workspace" and sum(_storage(buffer.tensor) in used for used in told) < 2:
            raise UnsupportedError(
                f"{call.name} walks more dimensions than its kernel does, and needs operands copied first.",
                fix="Join dimensions of its batch, or expand an operand before the call.",
            )


def _pointer(value: object, buffers: Sequence[Buffer]) -> Pointer | None:
    if not isinstance(value, Tensor):
        return None
    (number,) = (n for n, buffer in enumerate(buffers) if _storage(buffer.tensor) == _storage(value))
    return Pointer(number, int(value.storage_offset()) * value.element_size())
