"""Plans by hand: the smallest writer of csrc/engine/plan.h, so that the engine is tested without the compiler."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TYPES = ("int8", "uint8", "int16", "int32", "int64", "float32", "bool")
ARENA, CONSTANT, STATE, INPUT, OUTPUT = range(5)
NONE = 0xFFFFFFFF
HEADER, TENSOR, OPERATION = struct.Struct("<8s2IQ2Q12Q2I2Q"), struct.Struct("<4I3QfI8q8q"), struct.Struct("<8I")
CONV = {
    "stride_height": 1,
    "stride_width": 1,
    "dilation_height": 1,
    "dilation_width": 1,
    "groups": 1,
    "lo": -128,
    "hi": 127,
}
PADS = {"pad_top": 1, "pad_left": 1, "pad_bottom": 1, "pad_right": 1}
MAGIC = b"\x89EKM\r\n\x1a\n"


def dense(size: Sequence[int], step: int = 1) -> tuple[int, ...]:
    steps = []
    for one in reversed(size):
        steps.insert(0, step)
        step *= max(one, 1)
    return tuple(steps)


def aligned(value: int, to: int = 64) -> int:
    return -(-value // to) * to


@dataclass(eq=False)
class View:
    """A tensor of the plan."""

    dtype: str
    kind: int
    region: int
    bytes: int
    size: tuple[int, ...]
    step: tuple[int, ...]
    first: int = 0
    scale: float = 0.0

    def of(self, size: Sequence[int], step: Sequence[int] | None = None, first: int = 0, scale: float = 0.0) -> View:
        """Another view of the same region; steps in elements, ``first`` in bytes behind this one."""
        steps = dense(size) if step is None else tuple(step)
        return View(self.dtype, self.kind, self.region, self.bytes, tuple(size), steps, self.first + first, scale)


@dataclass
class Plan:
    """A program under construction; ``layout`` is ``_C.plan_layout()``."""

    layout: dict[str, Any]
    inputs: list[View] = field(default_factory=list)
    outputs: list[View] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    operations: list[tuple[Any, ...]] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)
    arena_bytes: int = 0
    state_bytes: int = 0

    def _port(self, ports: list[View], kind: int, size: Sequence[int], dtype: str, scale: float) -> View:
        count = int(np.prod(size, dtype=np.int64)) * np.dtype(dtype).itemsize
        ports.append(View(dtype, kind, len(ports), count, tuple(size), dense(size), 0, scale))
        return ports[-1]

    def input(self, size: Sequence[int], dtype: str = "int8", scale: float = 0.0) -> View:
        return self._port(self.inputs, INPUT, size, dtype, scale)

    def output(self, size: Sequence[int], dtype: str = "int8", scale: float = 0.0) -> View:
        return self._port(self.outputs, OUTPUT, size, dtype, scale)

    def constant(self, values: Any, scale: float = 0.0) -> View:
        array = np.ascontiguousarray(values)
        region = len(self.data)
        self.data += array.tobytes().ljust(aligned(array.nbytes), b"\0")
        view = View(array.dtype.name, CONSTANT, region, array.nbytes, array.shape, dense(array.shape), 0, scale)
        self.views.append(view)
        return view

    def region(self, size: Sequence[int], dtype: str = "int8", kind: int = ARENA, scale: float = 0.0) -> View:
        """A region of its own that just holds a dense tensor."""
        count = int(np.prod(size, dtype=np.int64)) * np.dtype(dtype).itemsize
        begin = self.arena_bytes if kind == ARENA else self.state_bytes
        if kind == ARENA:
            self.arena_bytes += aligned(count)
        else:
            self.state_bytes += aligned(count)
        return View(dtype, kind, begin, count, tuple(size), dense(size), 0, scale)

    def spaced(self, size: Sequence[int], dtype: str = "int8", scale: float = 0.0) -> View:
        """Steps with room between, but none in front for the padding of an image: that would have to be zeros."""
        if not size:
            return self.region(size, dtype, scale=scale)
        padded = [one + 2 for one in size[:-1]] + [size[-1] + 3]
        room = self.region(padded, dtype)
        return room.of(size, room.step, np.dtype(dtype).itemsize, scale)

    def framed(self, size: Sequence[int], pads: Sequence[int], scale: float = 0.0) -> View:
        """An image [N, H, W, C] with room for (top, left, bottom, right) around it."""
        top, left, bottom, right = pads
        n, h, w, c = size
        room = self.region((n, h + top + bottom, w + left + right, c))
        return room.of(size, room.step, top * room.step[1] + left * room.step[2], scale)

    def add(
        self, kind: str, inputs: Sequence[View | None], outputs: Sequence[View], flags: int = 0, **attributes: Any
    ) -> None:
        self.operations.append((kind, list(inputs), list(outputs), attributes, flags))

    def bytes(self) -> bytes:
        kinds = {row["name"]: (number, row) for number, row in enumerate(self.layout["kinds"])}
        tensors = [*self.inputs, *self.outputs]
        operands, attributes, rows = bytearray(), bytearray(), bytearray()
        for kind, inputs, outputs, given, flags in self.operations:
            number, row = kinds[kind]
            known = dict(given)
            packed = b"".join(struct.pack(CODES[type_], known.pop(name, 0)) for type_, name in row["fields"])
            assert not known, (kind, known)
            first = len(operands) // 4
            for view in (*inputs, *outputs):
                if view is not None and not any(view is one for one in tensors):
                    tensors.append(view)
                at = NONE if view is None else next(i for i, one in enumerate(tensors) if one is view)
                operands += struct.pack("<I", at)
            rows += OPERATION.pack(number, flags, 1, 0, first, len(inputs), len(outputs), len(attributes))
            attributes += packed
        table = b"".join(self._tensor(view) for view in tensors)
        data = bytes(self.data) + bytes(64)
        sections = [(table, len(tensors)), (rows, len(self.operations)), (operands, len(operands) // 4)]
        sections += [(attributes, len(attributes)), (b"\0node\0x\0", 8), (data, len(data))]
        return self._file(sections)

    def _tensor(self, view: View) -> bytes:
        sizes = tuple(view.size) + (1,) * (8 - len(view.size))
        steps = tuple(view.step) + (0,) * (8 - len(view.step))
        where = (view.region, view.bytes, view.first, view.scale, 0)
        return TENSOR.pack(6, TYPES.index(view.dtype), view.kind, len(view.size), *where, *sizes, *steps)

    def _file(self, sections: list[tuple[bytes, int]]) -> bytes:
        body, spans = bytearray(HEADER.size), []
        for content, count in sections:
            body = body.ljust(aligned(len(body)), b"\0")
            spans += [len(body), count]
            body += content
        ports = (len(self.inputs), len(self.outputs))
        body[: HEADER.size] = HEADER.pack(
            MAGIC, 1, 0, len(body), aligned(self.arena_bytes), aligned(self.state_bytes), *spans, *ports, 0, 0
        )
        return bytes(body)


CODES = {"u32": "<I", "i32": "<i", "f32": "<f", "f64": "<d"}
