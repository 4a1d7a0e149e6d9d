"""The file that ``edgekit kernels tune`` writes, and the context in which it is used."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor

from edgekit.bench.kernels.result import identity
from edgekit.bench.kernels.run import describe
from edgekit.errors import InputError, UsageError
from edgekit.ops import OpSpec, dispatch

SCHEMA = 1
BENCHMARK = "tuned kernels"


@dataclass(frozen=True)
class Entry:
    """The fastest configuration of one call.

    Attributes:
        kernel: the operator.
        case: the name of the call.
        signature: what a call must look like to get it.
        file: the kernel file whose ``Config`` it is.
        config, us: the fastest configuration, and the microseconds of a call, warm.
        heuristic, heuristic_us: the same of the one that is used without this file.
        tried, refused: how many configurations were timed, and how many could not be used.
    """

    kernel: str
    case: str
    signature: str
    file: str
    config: Mapping[str, int]
    us: float
    heuristic: Mapping[str, int]
    heuristic_us: float
    tried: int
    refused: int

    def __str__(self) -> str:
        settings = ", ".join(f"{name} {value}" for name, value in self.config.items())
        gain = f"{self.heuristic_us / self.us:.2f} times as fast as the heuristic's"
        return f"{self.kernel} {self.case}: {self.us:.2f} us with {settings}; {gain}, of {self.tried} timed"


@dataclass(frozen=True)
class Tuned:
    """All entries of a file, and the machine that they were measured on."""

    machine: Mapping[str, Any]
    entries: tuple[Entry, ...]

    def to_json(self) -> dict[str, Any]:
        """The content of the file."""
        rows = [asdict(entry) for entry in self.entries]
        return {"schema": SCHEMA, "benchmark": BENCHMARK, "machine": dict(self.machine), "entries": rows}

    def __str__(self) -> str:
        return "\n".join(map(str, self.entries))


def signature(args: tuple[Any, ...]) -> str:
    """Types and sizes of the tensors of a call, and its windows; numbers such as scales make no difference."""
    parts = []
    for arg in args:
        if isinstance(arg, Tensor):
            parts.append(f"{str(arg.dtype).removeprefix('torch.')}[{','.join(map(str, arg.shape))}]")
        elif isinstance(arg, (tuple, list)):
            parts.append(f"({','.join(map(str, arg))})")
    return " ".join(parts)


def read(path: Path) -> Tuned:
    """A file that was written before.

    Raises:
        InputError: it is not there, or holds something else.
    """
    try:
        content = json.loads(path.read_bytes())
        if (content["schema"], content["benchmark"]) != (SCHEMA, BENCHMARK):
            raise KeyError("schema")
        return Tuned(content["machine"], tuple(Entry(**entry) for entry in content["entries"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"{type(error).__name__}: {error}."
        fix = "Give a file that `edgekit kernels tune` wrote."
        raise InputError(f"{path} holds no tuned kernels.", why, fix) from error


@contextmanager
def tuned(path: str | Path) -> Iterator[Tuned]:
    """Launch Triton kernels with the configurations of a file where it has one, else with the heuristic's.

    Raises:
        InputError: the file cannot be read, or names a configuration that a kernel file does not have.
        UsageError: it was measured on another GPU.
    """
    found, here = read(Path(path)), describe()
    if identity(found.machine)[1] != identity(here)[1]:
        theirs, ours = (identity(machine)[1] or "no GPU" for machine in (found.machine, here))
        raise UsageError(f"{path} was measured on {theirs}, and this is {ours}.", fix="Tune the kernels here.")
    table = {(entry.kernel, entry.signature): _config(entry) for entry in found.entries}

    def configure(spec: OpSpec, args: tuple[Any, ...]) -> Any:
        return table.get((spec.name, signature(args)))

    with dispatch.configured(configure):
        yield found


def _config(entry: Entry) -> Any:
    """The configuration as its kernel file wants it; what a file says is checked before anything is imported."""
    problem = InputError(f"{entry.kernel} {entry.case}: no configuration of a kernel.", fix="Tune the kernels again.")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", str(entry.file)):
        raise problem
    try:
        kind = import_module(f"edgekit.kernels.{entry.file}").Config
    except (ImportError, AttributeError) as error:
        raise problem from error
    known, values = {one.name for one in fields(kind)}, entry.config
    if not isinstance(values, dict) or set(values) - known or not all(type(v) is int for v in values.values()):
        raise problem
    return kind(**values)
