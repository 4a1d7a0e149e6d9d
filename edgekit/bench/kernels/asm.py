"""The machine code of a C++ kernel as it was built, with what it calls of edgekit, by objdump of GNU binutils."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from edgekit.bench.kernels.subject import find
from edgekit.errors import MissingDependency, UnsupportedError, UsageError
from edgekit.ops import OpSpec, dispatch

_OURS = re.compile(r"\bedgekit::")
_HEADER = re.compile(r"^(?P<address>[0-9a-f]+) <(?P<name>.+)>:$")
_REFERENCE = re.compile(r"<(?P<name>[^+].*?)(?:\+0x[0-9a-f]+)?>\s*$")
_SYMBOL = re.compile(r"^(?P<address>[0-9a-f]+) .{7} \S+\t(?P<size>[0-9a-f]+)\s+(?:\.hidden )?(?P<name>.+)$")
_POINTER = re.compile(r"^(?P<address>[0-9a-f]+) R_\w+_RELATIVE\s+\*ABS\*\+0x(?P<target>[0-9a-f]+)$")


@dataclass(frozen=True)
class Assembly:
    """Machine code of one kernel.

    Attributes:
        kernel, tier: what was asked for.
        language: ``objdump`` for the processor's, ``ptx`` or ``sass`` for a GPU's.
        functions: code by function, the kernel's own first, then what it calls.
    """

    kernel: str
    tier: str
    language: str
    functions: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The code as plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n\n".join(f"{name}:\n{code}" for name, code in self.functions.items())


def assembly(operator: str, tier: str | None = None, target: str | None = None, language: str = "ptx") -> Assembly:
    """The code of an operator's kernel.

    Args:
        operator: its name.
        tier: a C++ tier; the one that this machine uses where neither it nor a target is given.
        target: a GPU, whose code the Triton kernel is compiled to.
        language: ``ptx`` or ``sass``, with a target.

    Raises:
        UsageError: no such operator, tier, target or language.
        MissingDependency: objdump, the compiled extension or Triton is not there.
        UnsupportedError: there is no such code.
    """
    spec = find(operator)
    if spec is None:
        raise UsageError(f"{operator} is a kernel of your own.", fix="Name an operator such as linear_s8.")
    if target is not None or tier == dispatch.TRITON:
        from edgekit.bench.kernels.asm_triton import triton

        if tier not in (None, dispatch.TRITON):
            raise UsageError("a C++ tier has no code for a GPU.", fix="Give --tier or --target.")
        return triton(spec, target or "orin", language)
    used = [one.name for one in dispatch.explain(spec) if one.chosen and one.device == "cpu"]
    return native(spec, tier or (used[0] if used else "ref"))


def native(spec: OpSpec, tier: str) -> Assembly:
    """The code of a C++ tier.

    Raises:
        UsageError: the operator has no such tier.
        MissingDependency: objdump or the compiled extension is not there.
        UnsupportedError: the extension carries no names of functions, or not that of this tier.
    """
    if tier not in spec.tiers or tier == dispatch.TRITON:
        tiers = ", ".join(one for one in spec.tiers if one != dispatch.TRITON)
        raise UsageError(f"{spec.name} has no C++ tier {tier}.", fix=f"It has {tiers}.")
    # One call would print the pointers between the instructions.
    code, symbols = _objdump("--disassemble", "--no-show-raw-insn"), _objdump("--syms", "--dynamic-reloc")
    functions, pointers = split(code), tables(code + symbols)
    start = re.compile(rf"edgekit::{spec.name}_{tier}\(")
    roots = [name for name in functions if start.match(name)]
    if not roots:
        raise UnsupportedError(
            f"{_library().name} has no function {spec.name}_{tier}.",
            "It was built for another processor, or its symbols were stripped.",
            "Build edgekit here: `pip install --no-build-isolation .`.",
        )
    return Assembly(spec.name, tier, "objdump", {name: functions[name] for name in reached(functions, roots, pointers)})


def split(listing: str) -> dict[str, str]:
    """The functions of edgekit in a listing of objdump, by name."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in listing.splitlines():
        header = _HEADER.match(line)
        if header:
            lines = found.setdefault(header["name"], []) if _OURS.search(header["name"]) else []
        elif line:
            lines.append(line)
    return {name: "\n".join(code) for name, code in found.items()}


def tables(listing: str) -> dict[str, list[str]]:
    """The functions that tables of pointers of edgekit hold, by name of the table."""
    names, pointers, symbols = dict[int, str](), dict[int, int](), list[tuple[int, int, str]]()
    for line in listing.splitlines():
        if found := _HEADER.match(line):
            names[int(found["address"], 16)] = found["name"]
        elif found := _POINTER.match(line):
            pointers[int(found["address"], 16)] = int(found["target"], 16)
        elif (found := _SYMBOL.match(line)) and _OURS.search(found["name"]):
            symbols.append((int(found["address"], 16), int(found["size"], 16), found["name"]))
    return {
        name: [names[pointers[at]] for at in range(first, first + size, 8) if pointers.get(at) in names]
        for first, size, name in symbols
        if first in pointers
    }


def reached(functions: Mapping[str, str], roots: list[str], pointers: Mapping[str, list[str]]) -> Iterator[str]:
    """The roots and every function that they name, or find in a table that they name; callers first."""
    waiting, seen = list(roots), set(roots)
    while waiting:
        name = waiting.pop(0)
        yield name
        references = [found["name"] for line in functions[name].splitlines() if (found := _REFERENCE.search(line))]
        for reference in references:
            for other in pointers.get(reference, [reference]):
                if other in functions and other not in seen:
                    seen.add(other)
                    waiting.append(other)


def _objdump(*options: str) -> str:
    objdump = shutil.which("objdump")
    if objdump is None:
        raise MissingDependency("objdump is not installed.", fix="On Debian and Ubuntu: apt-get install binutils.")
    command = [objdump, *options, "--demangle", "--wide", str(_library())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnsupportedError(f"objdump cannot read {_library()}.", done.stderr.strip(), "Install edgekit again.")
    return done.stdout


def _library() -> Path:
    try:
        file = import_module("edgekit._C").__file__
    except ImportError as error:
        fix = "Install a C++17 compiler and install edgekit again."
        raise MissingDependency("edgekit._C, the C++ kernels, cannot be imported.", f"{error}.", fix) from error
    assert file is not None
    return Path(file)
