"""Runs a plan from its bytes by the torch references of the operators: an oracle of the format beside the engine.

It knows ``csrc/engine/plan.h`` and ``plan.def`` and nothing of the compiler. Memory is poisoned first, so what is read
before it is written shows.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import float_references
import torch
from torch import Tensor
from torch.nn import functional

from edgekit.ops import (
    add_s8,
    avg_pool_s8,
    conv2d_s8,
    conv_transpose2d_s8,
    dequantize,
    group_norm_s8,
    gru_s8,
    l2_norm_s8,
    layer_norm_s8,
    linear_s8,
    lstm_s8,
    lut_s8,
    matmul_s8,
    max_pool_s8,
    mul_s8,
    numerics,
    quantize_s8,
    rms_norm_s8,
    softmax_s8,
)

DEF = (Path(__file__).parent.parent / "csrc" / "engine" / "plan.def").read_text()
TYPES = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.float32, torch.bool)
ARENA, CONSTANT, STATE, INPUT, OUTPUT = range(5)
NONE = 0xFFFFFFFF
POISON = 0x5A
CODES = {"u32": "I", "i32": "i", "f32": "f", "f64": "d"}


def rows() -> list[tuple[str, list[tuple[str, str]]]]:
    """Every row of plan.def: its name, and type and name of each attribute."""
    text = re.sub(r"//[^\n]*", "", DEF)
    found = re.findall(r"PLAN_OPERATION\((\w+),\s*\d+,\s*\d+,\s*\d+,((?:\s*F\(\w+,\s*\w+\))*)\s*\)", text)
    return [(name, re.findall(r"F\((\w+),\s*(\w+)\)", fields)) for name, fields in found]


@dataclass(frozen=True)
class Record:
    """A tensor of the file."""

    name: str
    element: int
    kind: int
    region: int
    region_bytes: int
    first: int
    scale: float
    sizes: tuple[int, ...]
    steps: tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """An operation of the file."""

    word: str
    concurrent: bool
    name: str
    source: str
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    attributes: dict[str, Any]


class Interpreter:
    """A plan that was read."""

    def __init__(self, data: bytes) -> None:
        head = struct.unpack_from("<8sII3Q12QIIQQ", data)
        assert head[0] == b"\x89EKM\r\n\x1a\n"
        assert head[1:3] == (1, 1)
        self.file_bytes, self.arena_bytes, self.state_bytes = head[3:6]
        assert self.file_bytes == len(data)
        spans = [head[i : i + 2] for i in range(6, 18, 2)]
        assert all(begin % 64 == 0 for begin, _ in spans)
        (self._tensors, self._operators, self._operands, self._attributes, self._strings, constants) = spans
        self.input_count, self.output_count = head[18:20]
        self._bytes = data
        self.records = [self._record(i) for i in range(self._tensors[1])]
        self.calls = [self._call(i) for i in range(self._operators[1])]
        self._constants = memory(data[constants[0] : constants[0] + constants[1]])
        self.state = memory(bytes(self.state_bytes))
        self.reads_halo = 0

    @property
    def inputs(self) -> list[Record]:
        return self.records[: self.input_count]

    @property
    def outputs(self) -> list[Record]:
        return self.records[self.input_count : self.input_count + self.output_count]

    def _string(self, at: int) -> str:
        begin = self._strings[0] + at
        return self._bytes[begin : self._bytes.index(b"\0", begin)].decode()

    def _record(self, number: int) -> Record:
        name, element, kind, dims, region, size, first, scale, _, *axes = struct.unpack_from(
            "<4I3QfI8q8q", self._bytes, self._tensors[0] + 176 * number
        )
        sizes, steps = tuple(axes[:dims]), tuple(axes[8 : 8 + dims])
        assert set(axes[dims:8]) <= {1}
        record = Record(self._string(name), element, kind, region, size, first, scale, sizes, steps)
        itemsize = TYPES[element].itemsize
        assert first % itemsize == 0
        assert min(steps, default=0) >= 0
        if math.prod(sizes):
            last = first + (sum((n - 1) * s for n, s in zip(sizes, steps, strict=True)) + 1) * itemsize
            assert last <= size, f"{record} leaves its region"
        if kind == ARENA:
            assert region % 64 == 0
            assert region + size <= self.arena_bytes
        return record

    def _call(self, number: int) -> Call:
        kind, flags, name, source, first, inputs, outputs, place = struct.unpack_from(
            "<8I", self._bytes, self._operators[0] + 32 * number
        )
        word, fields = rows()[kind]
        operands = struct.unpack_from(f"<{inputs + outputs}I", self._bytes, self._operands[0] + 4 * first)
        values = struct.unpack_from(
            "<" + "".join(CODES[t] for t, _ in fields), self._bytes, self._attributes[0] + place
        )
        attributes = dict(zip([field for _, field in fields], values, strict=True))
        given = tuple(None if operand == NONE else operand for operand in operands[:inputs])
        return Call(word, flags == 1, self._string(name), self._string(source), given, operands[inputs:], attributes)

    def run(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        """Carry the plan out."""
        self._ports = {INPUT: [memory(x.contiguous().numpy().tobytes()) for x in arrays]}
        self._ports[OUTPUT] = [memory(bytes([POISON]) * record.region_bytes) for record in self.outputs]
        self._arena = memory(bytes([POISON]) * self.arena_bytes)
        for call in self.calls:
            RUN[call.word](self, call)
        return tuple(self.tensor(self.input_count + i).clone() for i in range(self.output_count))

    def tensor(self, number: int | None, sizes: Sequence[int] | None = None, first: int | None = None) -> Tensor:
        """A record as a tensor on its memory; with other sizes or another beginning where they are given."""
        assert number is not None
        record = self.records[number]
        whole = self._region(record).view(TYPES[record.element])
        itemsize = TYPES[record.element].itemsize
        begin = (record.first if first is None else first) // itemsize
        return whole.as_strided(sizes or record.sizes, record.steps, whole.storage_offset() + begin)

    def _region(self, record: Record) -> Tensor:
        if record.kind in (INPUT, OUTPUT):
            return self._ports[record.kind][record.region]
        if record.kind == ARENA:
            store = self._arena
        else:
            store = self.state if record.kind == STATE else self._constants
        return store[record.region : record.region + record.region_bytes]

    def padded(self, number: int, top: int, left: int, bottom: int, right: int) -> Tensor | None:
        """An image with what lies around it, where its region has that."""
        record = self.records[number]
        n, h, w, c = record.sizes
        first = record.first - top * record.steps[1] - left * record.steps[2]
        sizes = (n, h + top + bottom, w + left + right, c)
        last = first + sum((size - 1) * step for size, step in zip(sizes, record.steps, strict=True)) + 1
        if first < 0 or last > record.region_bytes or not (top or left or bottom or right):
            return None
        return self.tensor(number, sizes, first)


def memory(data: bytes) -> Tensor:
    """Bytes as a tensor of its own."""
    return torch.frombuffer(bytearray(data) or bytearray(1), dtype=torch.uint8)[: len(data)]


def operands(self: Interpreter, call: Call) -> list[Any]:
    return [None if number is None else self.tensor(number) for number in call.inputs]


def write(self: Interpreter, call: Call, *results: Tensor) -> None:
    for number, result in zip(call.outputs, results, strict=True):
        self.tensor(number).copy_(result.clone())


def _quantize(self: Interpreter, call: Call) -> None:
    (x,), scale, a = operands(self, call), self.records[call.outputs[0]].scale, call.attributes
    assert x.is_contiguous()
    x = x.movedim(1, -1) if a["channels_last"] else x
    write(self, call, quantize_s8.reference(x, torch.tensor(scale), None, a["lo"], a["hi"]))


def _dequantize(self: Interpreter, call: Call) -> None:
    (x,), scale = operands(self, call), self.records[call.inputs[0] or 0].scale
    result = dequantize.reference(x, torch.tensor(scale), None)
    write(self, call, result.movedim(-1, 1) if call.attributes["channels_first"] else result)


def _conv2d(self: Interpreter, call: Call) -> None:
    x, weight, bias, multiplier, *residual = operands(self, call)
    a = call.attributes
    top, left, bottom, right = pads = [a[f"pad_{side}"] for side in ("top", "left", "bottom", "right")]
    inside = self.padded(call.inputs[0] or 0, *pads)
    self.reads_halo += inside is not None
    wide = inside if inside is not None else functional.pad(x, (0, 0, left, right, top, bottom))
    y = conv2d_s8.reference(
        wide.permute(0, 3, 1, 2), weight.permute(0, 3, 1, 2), bias, multiplier,
        (a["stride_height"], a["stride_width"]), (0, 0), (a["dilation_height"], a["dilation_width"]), a["groups"],
        a["lo"], a["hi"],
    )  # fmt: skip
    write(self, call, added(y.permute(0, 2, 3, 1), residual, a))


def added(y: Tensor, residual: list[Tensor | None], a: dict[str, Any]) -> Tensor:
    """The sum behind a layer."""
    if not residual or residual[0] is None:
        return y
    pair = [(y, a["ratio"]), (residual[0], a["residual_ratio"])]
    (first, ratio_a), (second, ratio_b) = reversed(pair) if a["residual_first"] else pair
    return add_s8.reference(first, second, ratio_a, ratio_b, a["sum_lo"], a["sum_hi"])


def _halo(self: Interpreter, call: Call) -> None:
    a, (number,) = call.attributes, call.outputs
    whole = self.padded(number, a["top"], a["left"], a["bottom"], a["right"])
    assert whole is not None, "a halo leaves its region"
    inner = self.tensor(number).clone()
    whole.zero_()
    self.tensor(number).copy_(inner)


def _linear(self: Interpreter, call: Call) -> None:
    x, weight, bias, multiplier, *residual = operands(self, call)
    a = call.attributes
    assert x.is_contiguous()
    y = linear_s8.reference(x, weight, bias, multiplier, a["lo"], a["hi"])
    write(self, call, added(y, residual, a))


def _transposed(self: Interpreter, call: Call) -> None:
    x, weight, bias, multiplier = operands(self, call)
    a, out = call.attributes, self.records[call.outputs[0]].sizes
    stride, dilation = ((a[f"{name}_height"], a[f"{name}_width"]) for name in ("stride", "dilation"))
    pad = (a["pad_top"], a["pad_left"])
    least = [
        (n - 1) * s - 2 * p + d * (k - 1) + 1
        for n, s, p, d, k in zip(x.shape[1:3], stride, pad, dilation, weight.shape[2:], strict=True)
    ]
    more = (out[1] - least[0], out[2] - least[1])
    y = conv_transpose2d_s8.reference(
        x.permute(0, 3, 1, 2), weight, bias, multiplier, stride, pad, more, a["groups"], dilation, a["lo"], a["hi"]
    )
    write(self, call, y.permute(0, 2, 3, 1))


def _sum(self: Interpreter, call: Call) -> None:
    (x,), a = operands(self, call), call.attributes
    axes = [d for d in range(x.dim()) if a["axes"] >> d & 1]
    total = x.int().sum(axes) if axes else x.int()
    y = numerics.requantize(total, torch.tensor(a["multiplier"], dtype=torch.float32), a["lo"], a["hi"])
    write(self, call, y.reshape(self.records[call.outputs[0]].sizes))


def _lut(self: Interpreter, call: Call) -> None:
    x, table = operands(self, call)
    write(self, call, lut_s8.reference(x, table, None if call.attributes["axis"] < 0 else call.attributes["axis"]))


def _pool(self: Interpreter, call: Call, function: Callable[..., Tensor]) -> None:
    """However windows are counted: the size of the result says whether the last may hang over."""
    x = operands(self, call)[0].permute(0, 3, 1, 2)
    a, out = call.attributes, self.records[call.outputs[0]].sizes
    kernel, stride, pad = ((a[f"{name}_height"], a[f"{name}_width"]) for name in ("kernel", "stride", "pad"))
    for ceil_mode in (False, True):
        y = function(x, kernel, stride, pad, ceil_mode)
        if tuple(y.shape[2:]) == out[1:3]:
            write(self, call, y.permute(0, 2, 3, 1))
            return
    raise AssertionError("no way of counting windows gives this size")


def _average(self: Interpreter, call: Call) -> None:
    a, multiplier = call.attributes, operands(self, call)[1]

    def function(x: Tensor, kernel: Any, stride: Any, pad: Any, ceil_mode: bool) -> Tensor:
        include = bool(a["count_include_pad"])
        return avg_pool_s8.reference(x, multiplier, kernel, stride, pad, ceil_mode, include, a["lo"], a["hi"])

    _pool(self, call, function)


def _largest(self: Interpreter, call: Call) -> None:
    dilation = (call.attributes["dilation_height"], call.attributes["dilation_width"])

    def function(x: Tensor, kernel: Any, stride: Any, pad: Any, ceil_mode: bool) -> Tensor:
        return max_pool_s8.reference(x, kernel, stride, pad, dilation, ceil_mode)

    _pool(self, call, function)


def _fill(self: Interpreter, call: Call) -> None:
    number = call.outputs[0]
    out = self.tensor(number)
    byte = torch.tensor([call.attributes["value"]], dtype=torch.int8).repeat(out.element_size())
    out.copy_(byte.view(out.dtype)[0].expand(out.shape))


def _gather(self: Interpreter, call: Call) -> None:
    x, index = operands(self, call)
    byte = torch.tensor([call.attributes["value"]], dtype=torch.int8).repeat(x.element_size()).view(x.dtype)
    y = torch.where(index < 0, byte, x.reshape(-1)[index.long().clamp(min=0)])
    write(self, call, y.reshape(self.records[call.outputs[0]].sizes))


def _take(self: Interpreter, call: Call) -> None:
    x, index = operands(self, call)
    write(self, call, x[index.long()])


def _extremum(self: Interpreter, call: Call) -> None:
    (x,), a = operands(self, call), call.attributes
    axes = [d for d in range(x.dim()) if a["axes"] >> d & 1]
    y = x.amin(axes) if a["least"] else x.amax(axes)
    write(self, call, y.reshape(self.records[call.outputs[0]].sizes))


def _cast(self: Interpreter, call: Call) -> None:
    (x,) = operands(self, call)
    write(self, call, float_references.cast(x, TYPES[self.records[call.outputs[0]].element]))


def _reduce(self: Interpreter, call: Call) -> None:
    (x,) = operands(self, call)
    write(self, call, float_references.reduce(x, call.attributes).reshape(self.records[call.outputs[0]].sizes))


def _pool_f32(self: Interpreter, call: Call) -> None:
    (x,) = operands(self, call)
    write(self, call, float_references.pool(x, call.attributes, self.records[call.outputs[0]].sizes))


def _simple(function: Callable[[list[Any], dict[str, Any]], Tensor | tuple[Tensor, ...]]) -> Callable[..., None]:
    def run(self: Interpreter, call: Call) -> None:
        result = function(operands(self, call), call.attributes)
        write(self, call, *(result if isinstance(result, tuple) else (result,)))

    return run


RUN: dict[str, Callable[[Interpreter, Call], None]] = {
    "quantize_s8": _quantize,
    "dequantize": _dequantize,
    "conv2d_s8": _conv2d,
    "halo": _halo,
    "linear_s8": _linear,
    "conv_transpose2d_s8": _transposed,
    "sum_s8": _sum,
    "lut_s8": _lut,
    "avg_pool_s8": _average,
    "max_pool_s8": _largest,
    "fill": _fill,
    "gather": _gather,
    "take": _take,
    "extremum_s8": _extremum,
    "copy": _simple(lambda x, a: x[0]),
    "matmul_s8": _simple(lambda x, a: matmul_s8.reference(*x, a["multiplier"], a["lo"], a["hi"])),
    "add_s8": _simple(lambda x, a: add_s8.reference(*x, a["ratio_a"], a["ratio_b"], a["lo"], a["hi"])),
    "mul_s8": _simple(lambda x, a: mul_s8.reference(*x, a["multiplier"], a["lo"], a["hi"])),
    "choose_s8": _simple(lambda x, a: torch.minimum(*x) if a["least"] else torch.maximum(*x)),
    "softmax_s8": _simple(lambda x, a: softmax_s8.reference(*x[:2], a["output_scale"], *x[2:])),
    "layer_norm_s8": _simple(lambda x, a: layer_norm_s8.reference(*x, a["input_scale"], a["eps"])),
    "rms_norm_s8": _simple(lambda x, a: rms_norm_s8.reference(*x, a["input_scale"], a["eps"])),
    "l2_norm_s8": _simple(lambda x, a: l2_norm_s8.reference(*x, a["input_scale"], a["output_scale"], a["eps"])),
    "group_norm_s8": _simple(
        lambda x, a: group_norm_s8.reference(x[0], a["groups"], *x[1:], a["input_scale"], a["eps"])
    ),
    "gru_s8": _simple(lambda x, a: gru_s8.reference(*x, bool(a["reverse"]))),
    "lstm_s8": _simple(lambda x, a: lstm_s8.reference(*x, bool(a["reverse"]))),
    "cast": _cast,
    "reduce": _reduce,
    "pool_f32": _pool_f32,
    **{word: _simple(reference) for word, reference in float_references.REFERENCES.items()},
}
