"""What every runner is: it checks its inputs, names the one that does not fit, and runs."""

from __future__ import annotations

import importlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError, GraphFileError, MissingDependency

Outputs = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class TensorInfo:
    """A named input or output: shape, with None for a dynamic size, and dtype."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]


class Runner(ABC):
    """A loaded artefact.

    Attributes:
        name: the file's name, or ``graph``.
        runtime, version: what runs it.
        device: ``cpu`` or ``cuda``.
        threads: that one call uses.
        inputs, outputs: in the order of :meth:`run`.
        nan_inputs: NaN values seen in float inputs so far; the integer kernels map them to 0.
    """

    runtime: str
    version: str | None
    device = "cpu"

    def __init__(
        self, name: str, threads: int, inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...]
    ) -> None:
        self.name, self.threads, self.inputs, self.outputs = name, threads, inputs, outputs
        self.nan_inputs = 0

    def run(self, *arrays: NDArray[Any]) -> Outputs:
        """Runs the artefact on one array for each input.

        Raises:
            DataError: an input has the wrong type, dtype or shape, or there are too many or too few.
        """
        return self.bind(*arrays)()

    def bind(self, *arrays: NDArray[Any]) -> Callable[[], Outputs]:
        """Checks the inputs once and returns the bare call, which is what a benchmark times.

        Raises:
            DataError: as :meth:`run`.
        """
        self.check(*arrays)
        return self._bind(arrays)

    def check(self, *arrays: NDArray[Any]) -> None:
        """Refuses inputs that do not fit.

        Raises:
            DataError: as :meth:`run`.
        """
        if len(arrays) != len(self.inputs):
            names = ", ".join(info.name for info in self.inputs)
            raise DataError(f"{self.name} takes {len(self.inputs)} inputs ({names}), {len(arrays)} were given.")
        for info, array in zip(self.inputs, arrays, strict=True):
            _check(info, array)
            self._count_nan(info, array)

    @abstractmethod
    def _bind(self, arrays: tuple[NDArray[Any], ...]) -> Callable[[], Outputs]:
        """The bare call on checked inputs."""

    def _count_nan(self, info: TensorInfo, array: NDArray[Any]) -> None:
        # The minimum is NaN if any value is, and costs a fraction of looking at each.
        if not np.issubdtype(info.dtype, np.floating) or not array.size or not np.isnan(array.min()):
            return
        if not self.nan_inputs:
            text = f"input {info.name} of {self.name} holds NaN: edgekit's INT8 makes it 0, ONNX Runtime's -128"
            warnings.warn(text, RuntimeWarning, stacklevel=5)
        self.nan_inputs += int(np.isnan(array).sum())


def _check(info: TensorInfo, array: object) -> None:
    if not isinstance(array, np.ndarray):
        raise DataError(f"input {info.name} is a {type(array).__name__}.", fix="Give a numpy array.")
    if array.dtype != info.dtype:
        raise DataError(
            f"input {info.name} is {array.dtype}, the model takes {info.dtype}.", fix="Convert it with .astype()."
        )
    fits = array.ndim == len(info.shape) and all(
        want is None or want == size for want, size in zip(info.shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in info.shape)
        raise DataError(f"input {info.name} has shape {tuple(array.shape)}, the model takes ({wanted}).")


def check_file(path: Path) -> None:
    """Refuse a path where no file is."""
    if path.is_dir():
        raise GraphFileError(f"{path} is a directory, not a model file.")
    if not path.exists():
        raise GraphFileError(f"{path} does not exist.", fix="Check the path.")


def read(path: Path) -> bytes:
    """The whole file: what is looked at and what the runtime loads are the same bytes."""
    check_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise GraphFileError(f"{path} cannot be read.", f"{error.strerror}.") from error


def require(module: str, fix: str) -> ModuleType:
    """Import what a runner needs, or say how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependency(
            f"{module} is needed for this and cannot be imported.", f"{error}.", f"Try: {fix}."
        ) from error
