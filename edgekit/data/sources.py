"""Where items come from: scikit-learn's bundled digits, or an ``.npz`` file."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edgekit.data.checks import check_items, check_labels
from edgekit.data.split import Arrays, Split
from edgekit.errors import DataError, MissingDependency

MAX_BYTES = 4 * 2**30  # of one array, unpacked


def digits() -> Split:
    """Return 1,797 handwritten digits, float32 [N, 1, 8, 8] from 0 to 1 in 16 levels; scikit-learn has UCI's set."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingDependency(
            "The digits come with scikit-learn, which is not installed.", fix="pip install 'edgekit[train]'"
        ) from error
    pixels, labels = load_digits(return_X_y=True)
    return Split(((pixels.reshape(-1, 1, 8, 8) / 16).astype(np.float32),), (labels.astype(np.int64),))


def npz(path: Path) -> Split:
    """Read ``x`` (float32 or float64 [N, ...], scaled as the model expects) and ``y`` (integers [N]) from a file.

    Raises:
        DataError: the file or an array is missing, damaged, too large, pickled, or of the wrong type or shape.
    """
    x, y = _arrays(path, "x", "y")
    return Split((_items(path, x),), (check_labels(f"{path}: y", y, len(x)),))


def npz_items(path: Path) -> list[Arrays]:
    """Read calibration items from ``x`` alone, each with a batch of 1; errors as :func:`npz`."""
    (x,) = _arrays(path, "x")
    checked = _items(path, x)
    return [(checked[i : i + 1],) for i in range(len(checked))]


def _items(path: Path, x: Any) -> NDArray[np.float32]:
    if x.dtype == np.float64:
        with np.errstate(over="ignore"):  # what does not fit becomes infinite and is refused by name below
            x = x.astype(np.float32)
    check_items(f"{path}: x", x)
    return np.ascontiguousarray(x)


def _arrays(path: Path, *names: str) -> list[Any]:
    if not path.exists():
        raise DataError(f"{path} does not exist.", fix="Check `data.source`; a relative path starts at the recipe.")
    try:
        with zipfile.ZipFile(path) as archive:
            return [_array(archive, name, path) for name in names]
    except (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read as .npz: {error}.", fix="Write it with numpy.savez(path, x=x, y=y)."
        ) from error


def _array(archive: zipfile.ZipFile, name: str, path: Path) -> Any:
    """Read one array, after its header was held against the size of the file that is there."""
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError as error:
        held = ", ".join(sorted(archive.namelist())[:8])
        raise DataError(f"{path} has no array {name!r}.", f"It holds: {held}.", "Name the arrays x and y.") from error
    with archive.open(info) as file:
        shape, dtype = _header(file)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject:
            raise DataError(f"{path}: {name} holds pickled objects.", fix="Save plain numbers.")
        if size > MAX_BYTES or size != info.file_size - file.tell():
            raise DataError(
                f"{path}: {name} says it has {size:,} bytes.",
                f"The file has {info.file_size:,}, the limit is {MAX_BYTES:,}.",
            )
    with archive.open(info) as file:
        return npy.read_array(file, allow_pickle=False)


def _header(file: Any) -> tuple[tuple[int, ...], Any]:
    read = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    if any(length < 0 for length in shape):
        raise ValueError(f"negative length in shape {shape}")
    return shape, dtype
