"""Arrays in an ``.npz`` file: ``x`` (or ``x0``, ``x1``, ...) and ``y`` (or ``y0``, ...), also ``x_test``, ``y_test``.

Inputs reach the graph as they are: float32 (float64 is rounded), uint8, or other integers as int64. Targets are
integers (int64) or float32.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.lib import format as npy

from edgekit.data.arrays import as_input, as_target
from edgekit.data.source import MAX_BYTES, Source
from edgekit.data.split import Arrays, Split
from edgekit.errors import DataError

_BROKEN = (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)


def npz(path: Path) -> Source:
    """Read inputs, targets and, where the file has them, held-out items (``x_test`` and ``y_test``, or ``x0_test``...).

    Raises:
        DataError: the file or an array is missing, damaged, too large, pickled, or of the wrong type or shape.
    """
    with _Archive(path) as archive:
        items = archive.split("")
        test = archive.split("_test") if archive.has("x", "_test") or archive.has("y", "_test") else None
    if test is not None:
        _check_alike(path, items, test)
    return Source(
        items, test, facts={"kind": "npz", "inputs": _shapes(items.inputs), "targets": _shapes(items.targets)}
    )


def npz_items(path: Path) -> list[Arrays]:
    """Read calibration items from the inputs alone, each with a batch of 1; errors as :func:`npz`."""
    with _Archive(path) as archive:
        inputs = archive.inputs("")
    return [tuple(array[i : i + 1] for array in inputs) for i in range(len(inputs[0]))]


class _Archive:
    """An open file whose arrays are read by name, each held against its header and the limits before it is."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> _Archive:
        if not self._path.is_file():  # a pipe would wait forever
            raise DataError(
                f"{self._path} {'is not a file' if self._path.exists() else 'does not exist'}.",
                fix="Check `data.source`; a relative path starts at the recipe.",
            )
        try:
            self._zip = zipfile.ZipFile(self._path)
        except _BROKEN as error:
            raise self._broken(error) from error
        self._held = {name.removesuffix(".npy") for name in self._zip.namelist() if name.endswith(".npy")}
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def has(self, stem: str, suffix: str) -> bool:
        return not self._held.isdisjoint({f"{stem}{suffix}", f"{stem}0{suffix}"})

    def split(self, suffix: str) -> Split:
        inputs = self.inputs(suffix)
        names = self._names("y", suffix)
        targets = [as_target(f"{self._path}: {name}", self._read(name), len(inputs[0])) for name in names]
        return Split(inputs, tuple(targets))

    def inputs(self, suffix: str) -> Arrays:
        arrays = {name: as_input(f"{self._path}: {name}", self._read(name)) for name in self._names("x", suffix)}
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(
                f"{self._path}: the inputs have {lengths} items.", fix="Give every input the same number of items."
            )
        return tuple(arrays.values())

    def _names(self, stem: str, suffix: str) -> list[str]:
        """The one array of that stem, or the numbered ones from 0 without a gap."""
        if f"{stem}{suffix}" in self._held:
            return [f"{stem}{suffix}"]
        count = next(n for n in range(len(self._held) + 1) if f"{stem}{n}{suffix}" not in self._held)
        if not count:
            raise DataError(
                f"{self._path} has no array '{stem}{suffix}'.",
                f"It holds: {', '.join(sorted(self._held)[:8])}.",
                "Name the arrays x and y, or x0, x1, ... and y0, y1, ...",
            )
        return [f"{stem}{n}{suffix}" for n in range(count)]

    def _read(self, name: str) -> Any:
        """Read one array, after its header was held against the size of the file that is there."""
        try:
            info = self._zip.getinfo(f"{name}.npy")
            with self._zip.open(info) as file:
                shape, dtype = _header(file)
                size = math.prod(shape) * dtype.itemsize
                if dtype.hasobject:
                    raise DataError(f"{self._path}: {name} holds pickled objects.", fix="Save plain numbers.")
                if size > MAX_BYTES or size != info.file_size - file.tell():
                    raise DataError(
                        f"{self._path}: {name} says it has {size:,} bytes.",
                        f"The file has {info.file_size:,}, the limit is {MAX_BYTES:,}.",
                    )
            with self._zip.open(info) as file:
                return npy.read_array(file, allow_pickle=False)
        except _BROKEN as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> DataError:
        return DataError(
            f"{self._path} cannot be read as .npz: {error}.", fix="Write it with numpy.savez(path, x=x, y=y)."
        )


def _check_alike(path: Path, items: Split, test: Split) -> None:
    ours = [(array.dtype, array.shape[1:]) for array in (*items.inputs, *items.targets)]
    theirs = [(array.dtype, array.shape[1:]) for array in (*test.inputs, *test.targets)]
    if ours != theirs:
        raise DataError(
            f"{path}: the test arrays have another type or shape than the others.",
            f"{_shapes(test.inputs + test.targets)} is not {_shapes(items.inputs + items.targets)}.",
            "Only the number of items may differ.",
        )


def _shapes(arrays: Sequence[Any]) -> list[str]:
    return [f"{array.dtype} {['N', *array.shape[1:]]}".replace("'", "") for array in arrays]


def _header(file: Any) -> tuple[tuple[int, ...], Any]:
    read = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    if any(length < 0 for length in shape):
        raise ValueError(f"negative length in shape {shape}")
    return shape, dtype
