"""The bytes of a plan: the structs of ``csrc/engine/plan.h``, little-endian, each section on a multiple of 64 bytes.

The same plan gives the same bytes. Names are those of nodes, sources are ``file.py:3``: nothing of the machine it was
made on is in a file.
"""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass, field

from edgekit.export.native.attributes import Attributes
from edgekit.export.native.operation import Operation, Plan
from edgekit.export.native.view import Buffer, Storage, View
from edgekit.export.native.words import NUMBER

MAGIC = b"\x89EKM\r\n\x1a\n"
MAJOR, MINOR = 1, 1
ALIGNMENT = SLACK = 64
MAX_DIMS = 8
NONE = 0xFFFFFFFF
CONCURRENT = 1

SPAN = "QQ"
HEADER = struct.Struct(f"<8sII3Q{SPAN * 6}IIQQ")
TENSOR = struct.Struct("<4I3QfI8q8q")
OPERATION = struct.Struct("<8I")


def attribute_struct(kind: type[Attributes]) -> struct.Struct:
    """The struct of a kind's attributes, its end padded to 8 bytes; C has none of no bytes."""
    codes = "".join(code for _, code in kind.layout())
    used = struct.calcsize("<" + codes)
    return struct.Struct(f"<{codes}{(-used % 8) if used else 8}x")


@dataclass
class _Writer:
    """Sections as they grow; tensors and strings are written once."""

    tensors: dict[bytes, int] = field(default_factory=dict)
    strings: dict[str, int] = field(default_factory=lambda: {"": 0})
    text: bytearray = field(default_factory=lambda: bytearray(b"\0"))
    operands: list[int] = field(default_factory=list)
    attributes: bytearray = field(default_factory=bytearray)
    data: bytearray = field(default_factory=bytearray)

    def string(self, text: str) -> int:
        """Where a string begins."""
        if text not in self.strings:
            self.strings[text] = len(self.text)
            self.text += text.encode() + b"\0"
        return self.strings[text]

    def tensor(self, view: View | None, name: str = "") -> int:
        """The number of a view."""
        if view is None:
            return NONE
        return self.tensors.setdefault(self._tensor(view, name), len(self.tensors))

    def port(self, view: View, name: str) -> None:
        """A tensor of the caller, which has a record of its own."""
        record = self._tensor(view, name)
        assert record not in self.tensors, "ports have names"
        self.tensors[record] = len(self.tensors)

    def _tensor(self, view: View, name: str) -> bytes:
        unused = MAX_DIMS - len(view.sizes)
        return TENSOR.pack(
            *(self.string(name), view.element, view.buffer.storage, len(view.sizes)),
            *(view.buffer.place, view.buffer.bytes, view.first * view.element.bytes),
            *(view.scale, 0),
            *(*view.sizes, *[1] * unused),
            *(*view.steps, *[0] * unused),
        )

    def constant(self, buffer: Buffer) -> None:
        """The bytes of a constant, at the next multiple of the alignment."""
        assert buffer.data is not None
        self.data += bytes(-len(self.data) % ALIGNMENT)
        buffer.place = len(self.data)
        self.data += buffer.data

    def operation(self, operation: Operation) -> bytes:
        """One operation; its operands and attributes go to their sections."""
        first = len(self.operands)
        self.operands += [self.tensor(view) for view in (*operation.inputs, *operation.outputs)]
        place = len(self.attributes)
        self.attributes += attribute_struct(type(operation.attributes)).pack(*astuple(operation.attributes))
        names = (self.string(operation.name), self.string(operation.source))
        counts = (first, len(operation.inputs), len(operation.outputs))
        flags = CONCURRENT if operation.concurrent else 0
        return OPERATION.pack(NUMBER[operation.word], flags, *names, *counts, place)


def to_bytes(plan: Plan) -> bytes:
    """The file."""
    writer = _Writer()
    for buffer in plan.buffers(Storage.CONSTANT):
        writer.constant(buffer)
    for name, view in (*plan.inputs.items(), *plan.outputs.items()):
        writer.port(view, name)
    operations = b"".join(map(writer.operation, plan.operations))
    writer.data += bytes(SLACK)
    sections = [
        (b"".join(writer.tensors), len(writer.tensors)),
        (operations, len(plan.operations)),
        (struct.pack(f"<{len(writer.operands)}I", *writer.operands), len(writer.operands)),
        *((bytes(part), len(part)) for part in (writer.attributes, writer.text, writer.data)),
    ]
    return _assembled(plan, sections)


def _assembled(plan: Plan, sections: list[tuple[bytes, int]]) -> bytes:
    body, spans = bytearray(bytes(-(-HEADER.size // ALIGNMENT) * ALIGNMENT)), list[int]()
    for content, count in sections:
        body += bytes(-len(body) % ALIGNMENT)
        spans += [len(body), count]
        body += content
    sizes = (len(body), plan.arena_bytes, plan.state_bytes)
    HEADER.pack_into(body, 0, MAGIC, MAJOR, MINOR, *sizes, *spans, len(plan.inputs), len(plan.outputs), 0, 0)
    return bytes(body)
