"""Compile one specialisation for one target, without a GPU, and check what came out."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgekit.errors import GateError, MissingDependency, UnsupportedError
from edgekit.export.triton_aot import machine_code, ptx
from edgekit.export.triton_aot.architectures import Occupancy, architecture, occupancy
from edgekit.export.triton_aot.machine_code import Instructions, Resources
from edgekit.export.triton_aot.specialise import Argument, Specialisation
from edgekit.export.triton_aot.target import Target

TYPES = {"i32": "u32", "i64": "u64", "fp32": "f32"}  # of a parameter in PTX; addresses are u64


@dataclass(frozen=True)
class Assembler:
    """The assembler that Triton has for an architecture.

    Attributes:
        path: of the program.
        version: of its CUDA, ``12.9``.
        ptx: the highest PTX version that it reads, 88.
    """

    path: str
    version: str
    ptx: int


@dataclass(frozen=True)
class Kernel:
    """A compiled kernel.

    Attributes:
        name: of its files.
        specialisation: what was compiled.
        entry: symbol, parameters and threads of a block.
        shared: bytes of dynamic shared memory of a block.
        ptx, cubin: what the driver loads.
        ttir: Triton's intermediate form.
        resources: registers and stack of the machine code.
        occupancy: by these on the target.
    """

    name: str
    specialisation: Specialisation
    entry: ptx.Entry
    shared: int
    ptx: str
    cubin: bytes
    ttir: str
    resources: Resources
    occupancy: Occupancy

    @cached_property
    def instructions(self) -> Instructions:
        """What the machine code does; disassembled when it is first asked for, which takes half a second."""
        return machine_code.instructions(self.cubin)


def assembler(capability: int) -> Assembler:
    """The one that Triton uses; MissingDependency without Triton."""
    try:
        from triton.backends.nvidia.compiler import get_ptxas, ptx_get_version
    except ImportError as error:
        fix = "`pip install edgekit[gpu]`."
        raise MissingDependency("triton is not installed.", f"{error}.", fix) from error
    found = get_ptxas(capability)
    return Assembler(found.path, found.version, ptx_get_version(found.version))


def compile_kernel(specialisation: Specialisation, target: Target) -> Kernel:
    """Compile for a target.

    Raises:
        UnsupportedError: Triton or its assembler refuses, the kernel asks for more shared memory than a block can have
            or for scratch memory, or its parameters are not those of the launch.
    """
    name = specialisation.name
    compiled = _compile(specialisation, target)
    found = ptx.entry(compiled.asm["ptx"])
    _check_parameters(name, specialisation.arguments, found)
    _check_version(name, compiled.asm["ptx"], target)
    shared, scratch = int(compiled.metadata.shared), _scratch(compiled.metadata)
    if scratch:
        raise UnsupportedError(f"{name} asks for {scratch} bytes of scratch memory, which the launcher has not.")
    most = architecture(target.capability).shared_of_a_block
    if shared > most:
        what = f"{name} needs {shared} bytes of shared memory, and a block of sm_{target.capability} has {most}."
        raise UnsupportedError(what, fix="Give the operator smaller tiles or fewer stages.")
    cubin, ttir = compiled.asm["cubin"], str(compiled.asm["ttir"])
    needs = machine_code.resources(cubin)
    filled = occupancy(target.capability, found.threads, needs.registers, shared)
    return Kernel(name, specialisation, found, shared, compiled.asm["ptx"], cubin, ttir, needs, filled)


def ptx_of(target: Target) -> int:
    """The PTX version to write: the device's, or the assembler's where that is older.

    Raises:
        UnsupportedError: the assembler of this Triton is older than the architecture.
    """
    used = assembler(target.capability)
    version = min(target.ptx, used.ptx)
    if version < architecture(target.capability).ptx:
        what = f"the Triton that is installed cannot compile for sm_{target.capability}: its ptxas is {used.version}."
        raise UnsupportedError(what, fix="Install a newer Triton; 3.9 compiles for all that edgekit knows.")
    return version


def check_registers(target: Target, kernels: Iterable[Kernel], *, strict: bool = False) -> None:
    """Say which kernels do not fit into registers: a warning, or a GateError with ``strict``."""
    spilled = [kernel for kernel in kernels if kernel.resources.stack]
    if not spilled:
        return
    names = ", ".join(f"{k.name} ({k.resources.stack} bytes, {k.instructions.spills} instructions)" for k in spilled)
    what = f"registers spill on {target.name}: {names}."
    if strict:
        raise GateError(what, fix="Give the operator a smaller tile or more warps there.")
    warnings.warn(what, RuntimeWarning, stacklevel=2)


def _compile(specialisation: Specialisation, target: Target) -> Any:
    version = ptx_of(target)  # before Triton sees it: a version that the architecture lacks would end the process
    import triton
    from triton import knobs
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.compiler.errors import CompilationError
    from triton.runtime.errors import PTXASError

    source = ASTSource(
        fn=specialisation.kernel,
        signature=specialisation.signature,
        constexprs=dict(specialisation.constants),
        attrs=specialisation.attributes,
    )
    options = {
        "num_warps": specialisation.warps,
        "num_stages": specialisation.stages,
        "enable_fp_fusion": False,
        "ptx_version": version,
    }
    try:
        with knobs.compilation.scope():
            knobs.compilation.disable_line_info = True  # the paths of this machine are nobody's business
            return triton.compile(source, target=GPUTarget("cuda", target.capability, 32), options=options)
    except (CompilationError, PTXASError) as error:
        what = f"{specialisation.name} does not compile for sm_{target.capability}."
        raise UnsupportedError(what, f"{error}.", "Please report this with the call's sizes.") from error


def _scratch(metadata: Any) -> int:
    """Bytes of scratch memory; Triton names it by kind, and older ones know one kind."""
    kinds = ("global_scratch_size", "profile_scratch_size")
    return sum(int(getattr(metadata, kind, None) or 0) for kind in kinds)


def _check_parameters(name: str, arguments: tuple[Argument, ...], found: ptx.Entry) -> None:
    want = ["u64" if a.type.startswith("*") else TYPES.get(a.type, a.type) for a in arguments]
    want += ["u64"] * ptx.HIDDEN
    have = [parameter.type for parameter in found.parameters]
    if have != want:
        raise UnsupportedError(f"{name} takes {', '.join(have)}, and its launch passes {', '.join(want)}.")


def _check_version(name: str, text: str, target: Target) -> None:
    want = f"{ptx_of(target) / 10:.1f}"
    if ptx.version(text) != want or not re.search(rf"^\.target sm_{target.capability}a?\b", text, re.MULTILINE):
        raise UnsupportedError(f"{name} is not PTX {want} for sm_{target.capability}.", "A variable overrides Triton.")
