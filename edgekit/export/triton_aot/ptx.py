"""The text of a kernel: its entry and parameters, and the same kernel with the parameters that TensorRT passes.

Triton appends two addresses to the parameters of a kernel, for scratch memory; what does not use them gets null.
TensorRT passes the inputs, then integers, then the outputs, and nothing else. So a plugin's text differs from the
kernel's in its list of parameters, and where the kernel loads a number that TensorRT cannot pass, the number stands.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekit.errors import UnsupportedError

HIDDEN = 2  # scratch memory, global and of the profiler
_ENTRY = re.compile(r"\.visible \.entry (?P<symbol>\w+)\((?P<parameters>[^)]*)\)\s*\.reqntid (?P<threads>\d+)")
_PARAMETER = re.compile(r"\.param \.(?P<type>\w+)[^,]*?(?P<name>\w+)\s*$")
_LOAD = r"ld\.param\.(?P<type>\w+)(?P<space>\s+)(?P<register>%\w+), \[{name}\];"
_BITS = {"%r": 32, "%rd": 64, "%f": 32}


@dataclass(frozen=True)
class Parameter:
    """A parameter of an entry: ``u64``, ``u32`` or ``f32`` and so on, its name, and its declaration."""

    type: str
    name: str
    text: str


@dataclass(frozen=True)
class Entry:
    """The one kernel of a module.

    Attributes:
        symbol: its name.
        parameters: in order, hidden ones included.
        threads: of a block.
    """

    symbol: str
    parameters: tuple[Parameter, ...]
    threads: int


def entry(text: str) -> Entry:
    """The entry of a module; UnsupportedError unless there is exactly one, of a known form."""
    found = list(_ENTRY.finditer(text))
    if len(found) != 1 or text.count(".entry") != 1:
        raise UnsupportedError(f"the PTX has {text.count('.entry')} entries, or one of an unknown form.")
    lines = [line.strip() for line in found[0]["parameters"].split(",") if line.strip()]
    return Entry(found[0]["symbol"], tuple(_parameter(line) for line in lines), int(found[0]["threads"]))


def _parameter(line: str) -> Parameter:
    match = _PARAMETER.match(line)
    if match is None:
        raise UnsupportedError(f"the PTX has a parameter of an unknown form: {line}.")
    return Parameter(match["type"], match["name"], line)


def version(text: str) -> str:
    """What ``.version`` says, ``8.5``."""
    match = re.search(r"^\.version (\d+\.\d+)", text, re.MULTILINE)
    return match[1] if match else ""


def read_parameters(text: str) -> set[int]:
    """Positions of the parameters that the kernel looks at; the others only stand in its list."""
    return _read(entry(text), text[_list_end(text) :])


def _read(found: Entry, body: str) -> set[int]:
    return {place for place, one in enumerate(found.parameters) if re.search(rf"\b{one.name}\b", body)}


def _list_end(text: str) -> int:
    return text.index(")", text.index(".entry"))


def with_parameters(text: str, kept: Sequence[int | None], numbers: Mapping[int, int | float]) -> str:
    """The same kernel with other parameters.

    Args:
        text: PTX with one entry.
        kept: the new list: positions in the old one, or None for an address that the kernel does not look at.
        numbers: by position, the value that takes the place of a parameter that is not kept.

    Raises:
        UnsupportedError: the kernel looks at a parameter that is neither, or loads one in an unknown way.
    """
    found = entry(text)
    listed = [_listed(found, place, number) for number, place in enumerate(kept)]
    head, body = text[: text.index("(", text.index(".entry"))], text[_list_end(text) :]
    for place, value in numbers.items():
        body = _with_number(body, found.parameters[place].name, value)
    for place in sorted(_read(found, body) - set(kept)):
        raise UnsupportedError(f"{found.symbol} looks at its parameter {place}, which TensorRT does not pass.")
    return f"{head}(\n\t" + ",\n\t".join(listed) + f"\n{body}"


def _listed(found: Entry, place: int | None, number: int) -> str:
    if place is None:
        return f".param .u64 .ptr .global .align 1 {found.symbol}_unread_{number}"
    return found.parameters[place].text


def _with_number(body: str, name: str, value: int | float) -> str:
    def constant(load: re.Match[str]) -> str:
        bits = _BITS.get(re.sub(r"\d+$", "", load["register"]))
        if bits is None or load["type"] not in ("b32", "u32", "s32", "f32", "b64", "u64", "s64"):
            raise UnsupportedError(f"the PTX loads {name} in an unknown way: {load[0]}.")
        return f"mov.b{bits}{load['space']}{load['register']}, {_immediate(value, load['type'], bits)};"

    return re.sub(_LOAD.format(name=name), constant, body)


def _immediate(value: int | float, loaded: str, bits: int) -> str:
    """The bits of a register after the load: signed loads extend the sign, others zeros."""
    if isinstance(value, float):
        (pattern,) = struct.unpack("<I", struct.pack("<f", value))
        return f"0x{pattern:08X}"
    narrow = value if loaded.startswith("s") else value % (1 << int(loaded[1:]))
    return f"0x{narrow % (1 << bits):0{bits // 4}X}"
