"""Arrays of any origin as the inputs and targets that the graph and the tasks know: three types each, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.data.checks import check_items
from edgekit.errors import DataError


def as_input(name: str, array: Any) -> NDArray[Any]:
    """Return an input [N, ...]: uint8 as it is, other integers as int64, floats as finite float32.

    Raises:
        DataError: another type, fewer than two axes, no items, or a value that is NaN or too large for float32.
    """
    if array.dtype.kind == "f":
        array = _float32(array)
        check_items(name, array)
    elif array.dtype.kind not in "iu":
        raise DataError(f"{name} is {array.dtype}, neither float32, uint8 nor integer.", fix="Save one of these types.")
    elif array.ndim < 2 or not array.size:
        raise DataError(f"{name} has shape {list(array.shape)}.", fix="The first axis counts items; give at least one.")
    elif array.dtype != np.uint8:
        array = _int64(name, array)
    return np.ascontiguousarray(array)


def as_target(name: str, array: Any, count: int) -> NDArray[Any]:
    """Return a target [N, ...] for ``count`` items: integers and bools as int64, floats as finite float32.

    Raises:
        DataError: another type, another number of items, or a value that is NaN or too large for float32.
    """
    if array.dtype.kind not in "iubf" or array.ndim < 1:
        raise DataError(
            f"{name} is {array.dtype} of shape {list(array.shape)}.", fix="Save plain numbers, one or more an item."
        )
    if len(array) != count:
        raise DataError(
            f"{name} has {len(array)} items.", f"There are {count} items.", "Give one target for each item."
        )
    if array.dtype.kind != "f":
        return np.ascontiguousarray(_int64(name, array))
    array = _float32(array)
    check_items(name, array.reshape(count, -1))
    return np.ascontiguousarray(array)


def _float32(array: Any) -> Any:
    with np.errstate(over="ignore"):  # what does not fit becomes infinite and is refused by name
        return array.astype(np.float32, copy=False)


def _int64(name: str, array: Any) -> Any:
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise DataError(f"{name} holds {array.max()}, which is too large for int64.", fix="Save smaller integers.")
    return array.astype(np.int64, copy=False)
