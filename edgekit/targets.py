"""Reader of ``targets.toml``: what each export target accepts, and what is known of the devices it is written for."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from edgekit.errors import UsageError, did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_TABLE = Path(__file__).with_name("targets.toml")

UNKNOWN: Final = "unknown"
"""A cell that nobody checked; ``None`` is an absence that somebody did."""

Answer = Literal["yes", "no", "unknown"]
Number = int | Literal["unknown"] | None


@dataclass(frozen=True)
class OnnxTarget:
    """How an ONNX file for one target is written.

    Attributes:
        name: as the user spells it, ``tensorrt-10``.
        opset: version of the default operator set.
        activation: type of quantised activations.
        bias: type of bias initialisers.
    """

    name: str
    opset: int
    activation: Literal["uint8", "int8"]
    bias: Literal["int32", "float32"]

    @property
    def zero_point(self) -> int:
        """Zero point of quantised activations: the integer graph's bytes plus this are the file's bytes."""
        return 128 if self.activation == "uint8" else 0


@dataclass(frozen=True)
class Stack:
    """A line of software that a device runs, a JetPack line for example.

    Attributes:
        name: ``jetpack-6``.
        l4t: releases of Jetson Linux that carry it, matched from the left; None off a Jetson.
        tensorrt: version of TensorRT; None if there is none.
        cuda: version or versions of CUDA; None if there is none.
        onnx: the ONNX target written for it; None if edgekit writes no file that it could use.
        opset: the highest that its ONNX parser reads.
    """

    name: str
    l4t: tuple[str, ...] | Literal["unknown"] | None
    tensorrt: str | None
    cuda: str | None
    onnx: str | None
    opset: Number

    @property
    def title(self) -> str:
        """The name in words: ``JetPack 6``."""
        return self.name.replace("jetpack-", "JetPack ")

    def carries(self, l4t: str) -> bool:
        """Whether this is the software of a release of Jetson Linux, ``36.4.3``."""
        known = () if self.l4t is None or self.l4t == UNKNOWN else self.l4t
        return any(l4t == start or l4t.startswith(f"{start}.") for start in known)


@dataclass(frozen=True)
class Device:
    """What is known of a device; where a fact comes from stands beside it in ``targets.toml``.

    Attributes:
        name: ``agx-orin``.
        title: the name in words.
        aliases: other spellings of ``name``.
        matches: parts of its device tree's ``compatible``.
        compute_capability: of its GPU or GPUs, ``8.7``; empty without one.
        stacks: the software it runs, the one that edgekit writes for by default first.
        dla: whether it has NVIDIA's deep learning accelerator.
        sparse: whether TensorRT has 2:4 sparse kernels for it.
        int8_multiple, fp16_multiple: channels that fill a memory access; None where there is no such arithmetic.
        sensors: kernel drivers that measure its power.
        rails: the names that these report.
        total_rail: the rail that holds all the others; None if none does.
    """

    name: str
    title: str
    aliases: tuple[str, ...]
    matches: tuple[str, ...]
    compute_capability: tuple[str, ...]
    stacks: tuple[Stack, ...]
    dla: Answer
    sparse: Answer
    int8_multiple: Number
    fp16_multiple: Number
    sensors: tuple[str, ...]
    rails: tuple[str, ...]
    total_rail: str | None

    @property
    def onnx(self) -> str | None:
        """The ONNX target written for it by default; None if edgekit writes no file that it could use."""
        return self.stacks[0].onnx

    @property
    def is_jetson(self) -> bool:
        """Whether its software comes as JetPack lines."""
        return any(stack.l4t is not None for stack in self.stacks)

    def stack_of(self, l4t: str) -> Stack | None:
        """The software that a release of Jetson Linux brings to this device; None where the table has no row."""
        return next((stack for stack in self.stacks if stack.carries(l4t)), None)


def names() -> tuple[str, ...]:
    """Return the names of all ONNX targets, in the order of the table."""
    return tuple(_table())


def onnx_target(name: str) -> OnnxTarget:
    """Return the row of one target; UsageError (2) names the known ones when there is none of that name."""
    if name not in _table():
        raise _unknown("export target", name, names(), names())
    return _table()[name]


def channel_multiples(name: str) -> dict[str, int]:
    """Return the channels that INT8 kernels take at a time, by operator (``conv2d``) and ``other``.

    Args:
        name: a runtime on a CPU (``onnxruntime``, ``native``) or a device.

    Raises:
        UsageError: there is no such row, or it has no INT8, or nobody checked.
    """
    rows: dict[str, dict[str, int]] = _tables()["multiple"]
    if name in rows:
        return rows[name]
    spellings = {alias: row for row in _devices().values() for alias in (row.name, *row.aliases)}
    if name not in spellings:
        raise _unknown("target of widths", name, (*rows, *device_names()), (*rows, *spellings))
    multiple = spellings[name].int8_multiple
    if not isinstance(multiple, int):
        why = "has no INT8" if multiple is None else "has no known multiple of channels"
        raise UsageError(f"{spellings[name].title} {why}.", fix="Give a number.")
    return {"other": multiple}


def device_names() -> tuple[str, ...]:
    """Return the names of all devices, in the order of the table."""
    return tuple(_devices())


def device(name: str) -> Device:
    """Return the row of one device by its name or an alias; UsageError (2) names the known ones otherwise."""
    spellings = {alias: row for row in _devices().values() for alias in (row.name, *row.aliases)}
    if name not in spellings:
        raise _unknown("device", name, device_names(), spellings)
    return spellings[name]


def recognise(compatible: Iterable[str]) -> Device | None:
    """Return the device of a device tree's ``compatible`` entries, ``nvidia,p3737-0000+p3701-0000``, or None."""
    parts = [part for entry in compatible for part in entry.partition(",")[2].split("+")]
    for row in _devices().values():
        if any(part == start or part.startswith(f"{start}-") for start in row.matches for part in parts):
            return row
    return None


def jetpack(l4t: str) -> str | None:
    """Return the JetPack that a release of Jetson Linux (``36.4.3``) belongs to; None if the table has no row."""
    releases: dict[str, str] = _tables()["jetpack"]
    return releases.get(l4t) or releases.get(f"{l4t}.0")


def _unknown(kind: str, name: str, choices: Iterable[str], spellings: Iterable[str]) -> UsageError:
    what = f"There is no {kind} {name!r}.{did_you_mean(name, spellings)}"
    return UsageError(what, fix=f"Choose one of: {', '.join(choices)}.")


@cache
def _tables() -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = tomllib.loads(_TABLE.read_text("utf-8"))
    return tables


@cache
def _table() -> dict[str, OnnxTarget]:
    return {name: OnnxTarget(name, **row) for name, row in _tables()["onnx"].items()}


@cache
def _stacks() -> dict[str, Stack]:
    return {name: Stack(name, **_cells(row)) for name, row in _tables()["stack"].items()}


@cache
def _devices() -> dict[str, Device]:
    rows = {name: _cells(row) for name, row in _tables()["device"].items()}
    return {
        name: Device(name, **{**row, "stacks": tuple(_stacks()[stack] for stack in row["stacks"])})
        for name, row in rows.items()
    }


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    """The cells of a row as Python says them: tuples for lists, None for "none"."""
    return {
        key: None if cell == "none" else tuple(cell) if isinstance(cell, list) else cell for key, cell in row.items()
    }
