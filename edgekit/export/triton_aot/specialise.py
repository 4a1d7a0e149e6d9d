"""From a described launch to what Triton compiles: types of the arguments, and what it may assume of their values.

The same assumptions as those of Triton's own launches on a device: an integer that is 1 becomes a constant, integers
and addresses that are multiples of 16 are known to be. They hold for these sizes, so a compiled kernel is launched
with the integers that it was compiled for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgekit.errors import UnsupportedError, UsageError
from edgekit.kernels.launch import Launch

DIVISOR = 16
MULTIPLE_OF_16 = ("tt.divisibility", DIVISOR)

POINTEES = {
    torch.int8: "i8", torch.uint8: "u8", torch.int16: "i16", torch.int32: "i32", torch.int64: "i64", torch.bool: "i1",
    torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32", torch.float64: "fp64",
}  # fmt: skip


@dataclass(frozen=True)
class Argument:
    """A parameter that is passed at launch.

    Attributes:
        name: of the kernel's parameter.
        type: Triton's word: ``*i8``, ``i32``, ``i64``, ``fp32``.
        value: the tensor, or the number that every launch passes.
        aligned: whether the kernel is compiled for a multiple of 16.
    """

    name: str
    type: str
    value: Tensor | int | float
    aligned: bool


@dataclass(frozen=True)
class Specialisation:
    """What is compiled for a launch; two launches with equal ``name`` are one kernel.

    Attributes:
        kernel: what ``triton.jit`` made.
        arguments: passed at launch, in the kernel's order.
        constants: compiled in, by parameter.
        warps, stages: as of the launch.
    """

    kernel: Any
    arguments: tuple[Argument, ...]
    constants: Mapping[str, Any]
    warps: int
    stages: int

    @property
    def signature(self) -> dict[str, str]:
        """Types by parameter, in the kernel's order, as Triton wants them."""
        types = {argument.name: argument.type for argument in self.arguments}
        return {name: types.get(name, "constexpr") for name in self.kernel.arg_names}

    @property
    def attributes(self) -> dict[tuple[int], list[list[Any]]]:
        """What is known of values, by position."""
        names = list(self.kernel.arg_names)
        return {(names.index(a.name),): [list(MULTIPLE_OF_16)] for a in self.arguments if a.aligned}

    @property
    def name(self) -> str:
        """The kernel's name and a hash of what it is specialised for."""
        aligned = [argument.name for argument in self.arguments if argument.aligned]
        text = repr((self.signature, sorted(self.constants.items()), aligned, self.warps, self.stages))
        return f"{self.kernel.__name__}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def specialise(launch: Launch) -> Specialisation:
    """What to compile for a launch.

    Raises:
        UsageError: this process interprets Triton kernels, so there is nothing to compile.
        UnsupportedError: an argument of a type that a launch cannot pass.
    """
    refuse_interpreter(launch.kernel)
    arguments, constants = [], dict(launch.constants)
    for parameter in launch.kernel.params:
        if parameter.name in constants:
            continue
        value = launch.arguments[parameter.name]
        specialised = not parameter.do_not_specialize
        if value is None or (specialised and type(value) is int and value == 1):
            constants[parameter.name] = value
            continue
        aligned = specialised and not parameter.do_not_specialize_on_alignment and _is_multiple(value)
        arguments.append(Argument(parameter.name, _type(parameter.name, value), value, aligned))
    return Specialisation(launch.kernel, tuple(arguments), constants, launch.warps, launch.stages)


def refuse_interpreter(kernel: Any) -> None:
    """UsageError where ``triton.jit`` gave something to interpret."""
    if not hasattr(kernel, "cache_key"):
        why = "TRITON_INTERPRET=1 was set when they were imported."
        fix = "Start a process without that variable."
        raise UsageError("Triton kernels are interpreted here and cannot be compiled.", why, fix)


def _is_multiple(value: Tensor | int | float) -> bool:
    if isinstance(value, Tensor):
        return value.storage_offset() * value.element_size() % DIVISOR == 0
    return isinstance(value, int) and value % DIVISOR == 0


def _type(name: str, value: Tensor | int | float) -> str:
    if isinstance(value, Tensor):
        return f"*{POINTEES[value.dtype]}"
    if isinstance(value, float):
        return "fp32"
    if isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise UnsupportedError(f"{name} = {value} cannot be passed to a kernel.", fix="Make it a tl.constexpr.")
    return "i32" if -(2**31) <= value < 2**31 else "i64"
