"""What a compiled kernel is made of, read from its machine code by the tools that Triton ships."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit import disk
from edgekit.errors import UnsupportedError

_OPCODE = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?([A-Z][A-Z0-9_.]*)", re.MULTILINE)
_RESOURCES = re.compile(r"REG:(\d+) STACK:(\d+)")
_TENSOR_CORE = re.compile(r"(?:UTC)?[A-Z]*MMA(?:\..*)?")  # IMMA, HMMA; wgmma is IGMMA and so on, tcgen05 UTCIMMA
_LOCAL = re.compile(r"(?:LDL|STL)(?:\..*)?")  # memory of a thread of its own: what does not fit into registers


@dataclass(frozen=True)
class Resources:
    """What one kernel needs.

    Attributes:
        registers: of a thread.
        stack: bytes of local memory of a thread; a Triton kernel has some only where registers spill.
    """

    registers: int
    stack: int


@dataclass(frozen=True)
class Instructions:
    """What one kernel does.

    Attributes:
        tensor_core: how many instructions for tensor cores, by opcode with its types.
        spills: how many that load from or store to local memory.
        total: how many in all.
    """

    tensor_core: dict[str, int]
    spills: int
    total: int


def resources(cubin: bytes) -> Resources:
    """Read what a kernel needs; UnsupportedError where the tool does not understand its machine code."""
    usage = _RESOURCES.search(_examined(cubin, "cuobjdump", "--dump-resource-usage"))
    if usage is None:
        raise UnsupportedError("cuobjdump does not understand what the assembler made.")
    return Resources(int(usage[1]), int(usage[2]))


def instructions(cubin: bytes) -> Instructions:
    """Disassemble a kernel; UnsupportedError where the tool does not understand its machine code."""
    opcodes = Counter(_OPCODE.findall(_examined(cubin, "nvdisasm", "-c")))
    if not opcodes:
        raise UnsupportedError("nvdisasm does not understand what the assembler made.")
    cores = {name: count for name, count in sorted(opcodes.items()) if _TENSOR_CORE.fullmatch(name)}
    spills = sum(count for name, count in opcodes.items() if _LOCAL.fullmatch(name))
    return Instructions(cores, spills, opcodes.total())


def _examined(cubin: bytes, name: str, option: str) -> str:
    """What a tool says of a kernel."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        disk.write_file(path, cubin)
        return _output(tool(name), option, str(path))


def assemble(text: str, assembler: str, architecture: str) -> bytes:
    """Machine code of PTX, without contraction; UnsupportedError with the assembler's words where it refuses."""
    with tempfile.TemporaryDirectory() as folder:
        source, cubin = Path(folder) / "kernel.ptx", Path(folder) / "kernel.cubin"
        disk.write_file(source, text.encode())
        _output(assembler, "--fmad=false", f"--gpu-name={architecture}", str(source), "-o", str(cubin))
        return cubin.read_bytes()


def tool(name: str) -> str:
    """Path of a tool that Triton ships: ``nvdisasm``, ``cuobjdump``."""
    from triton import knobs

    path: str = getattr(knobs.nvidia, name).path
    return path


def tool_version(name: str) -> str:
    """Its release, ``13.1``."""
    match = re.search(r"release (\d+\.\d+)", _output(tool(name), "--version"))
    return match[1] if match else "unknown"


def _output(*command: str) -> str:
    done = subprocess.run(list[str](command), capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnsupportedError(f"{Path(command[0]).name} failed.", _first_lines(done.stderr.splitlines()))
    return done.stdout


def _first_lines(lines: Sequence[str]) -> str:
    return "; ".join(lines[:3]) + "."
