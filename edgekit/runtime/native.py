"""Plans (.ekm) in the native engine: numpy and ``edgekit._C``, no torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError, EdgekitError, GraphFileError, ResourceError, UnsupportedError, UsageError
from edgekit.runtime.runner import Outputs, Runner, TensorInfo, check_file, require

FIX = "Install a C++17 compiler and run `pip install -e .` (or `pip install edgekit`) again"
# ek_status of csrc/include/edgekit.h -> what it is in Python.
ERRORS: dict[int, type[EdgekitError]] = {
    1: UsageError,
    2: GraphFileError,
    3: UnsupportedError,
    4: ResourceError,
    5: GraphFileError,
    6: DataError,
}


@dataclass(frozen=True)
class Layer:
    """One operation of a plan.

    Attributes:
        name: of the node.
        kind: its word, such as ``conv2d_s8``.
        kernel: the function that runs it here.
        reason: why no faster one does; empty where there is none.
        source: the line of the model's source, as ``file.py:3``.
        macs: multiply-accumulates.
        seconds: of one run, where it was timed.
    """

    name: str
    kind: str
    kernel: str
    reason: str
    source: str
    macs: int
    seconds: float | None = None


class NativeRunner(Runner):
    """A plan in edgekit's own engine on the CPU.

    Args:
        path: the file; it is mapped into memory and must stay as it is while the runner lives.
        threads: of one call.
        isa: of the kernels, such as ``ref`` or ``avx512vnni``; None for the best that this machine has.

    Raises:
        MissingDependency: ``edgekit._C`` is not built.
        GraphFileError: the file is missing, damaged, or no plan.
        UnsupportedError: a newer format, or an instruction set that this machine lacks.
        UsageError: an instruction set that does not exist.
    """

    runtime = "edgekit"

    def __init__(self, path: str | Path, *, threads: int = 1, isa: str | None = None) -> None:
        check_file(Path(path))
        native = require("edgekit._C", FIX)
        self.version = str(importlib.import_module("edgekit").__version__)
        self._raised = native.EngineError
        try:
            self._engine = native.Engine(str(path), isa, threads)
        except self._raised as error:
            raise _typed(error, str(path)) from error
        self.isa = str(self._engine.isa)
        inputs, outputs = (tuple(map(_info, ports)) for ports in (self._engine.inputs(), self._engine.outputs()))
        super().__init__(Path(path).name, threads, inputs, outputs)

    def _bind(self, arrays: tuple[NDArray[Any], ...]) -> Callable[[], Outputs]:
        given = [np.ascontiguousarray(array) for array in arrays]
        run, raised = self._engine.run, self._raised

        def call() -> Outputs:
            try:
                return tuple(run(given))
            except raised as error:
                raise _typed(error, self.name) from error

        return call

    @property
    def arena_bytes(self) -> int:
        """Memory for tensors, of each context."""
        return int(self._engine.arena_bytes)

    @property
    def weight_bytes(self) -> int:
        """Weights packed for this machine, beside the file."""
        return int(self._engine.weight_bytes)

    def explain(self) -> tuple[Layer, ...]:
        """Which kernel runs each operation, and why no faster one."""
        return tuple(Layer(**operation) for operation in self._engine.operations())

    def profile(self, *arrays: NDArray[Any]) -> tuple[Layer, ...]:
        """The operations with the seconds that each takes in one run.

        Raises:
            DataError: as :meth:`run`.
        """
        self.check(*arrays)
        seconds = self._engine.profile([np.ascontiguousarray(array) for array in arrays])
        rows = zip(self._engine.operations(), seconds, strict=True)
        return tuple(Layer(**operation, seconds=taken) for operation, taken in rows)

    def reset(self) -> None:
        """Forget what a recurrent net remembers from the runs before."""
        self._engine.state_reset()

    def save_state(self) -> bytes:
        """What a recurrent net remembers."""
        return bytes(self._engine.state_save())

    def load_state(self, state: bytes) -> None:
        """Go on from a state that :meth:`save_state` gave.

        Raises:
            UsageError: for a state of another net.
        """
        try:
            self._engine.state_load(state)
        except self._raised as error:
            raise _typed(error, self.name) from error


def _info(port: dict[str, Any]) -> TensorInfo:
    return TensorInfo(port["name"], tuple(port["shape"]), np.dtype(port["dtype"]))


def _typed(error: Exception, name: str) -> EdgekitError:
    status, message = error.args
    return ERRORS.get(status, UsageError)(f"{name}: {message}")
