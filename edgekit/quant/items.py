"""Calibration items: each becomes the tensors that the graph takes, or is refused with the number of its sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from edgekit.data.checks import MIN_CALIBRATION
from edgekit.errors import CalibrationError
from edgekit.graph import Graph, TensorInfo

Item = Any  # a tensor or array, a tuple of them, or a dict of them by input name


def checked(graph: Graph, item: Item, first: int) -> tuple[list[Tensor], int]:
    """The item as tensors in the order of the graph's inputs, and how many samples it holds.

    Args:
        graph: whose inputs are meant.
        item: as :func:`edgekit.quant.quantize` takes them.
        first: the number of the item's first sample, for messages.

    Raises:
        CalibrationError: for the wrong inputs, shapes, types or batches, NaN or infinite values.
    """
    values = _ordered(graph, item, first)
    for info, value in zip(graph.inputs, values, strict=True):
        _check_form(info, value, first)
        _check_finite(info, value, first)
    sizes = {len(value) for info, value in zip(graph.inputs, values, strict=True) if info.shape[:1] == (None,)}
    if len(sizes) > 1:
        raise CalibrationError(f"calibration sample {first}: its inputs have batches of {sorted(sizes)} samples.")
    return values, sizes.pop() if sizes else 1


def check_count(samples: int, allow_few: bool) -> None:
    """Refuse an empty calibration set, or one below 32 samples unless ``allow_few``."""
    if not samples:
        raise CalibrationError("the calibration set is empty.", fix="Give real samples; edgekit never makes them up.")
    if samples < MIN_CALIBRATION and not allow_few:
        raise CalibrationError(
            f"the calibration set has {samples} samples; at least {MIN_CALIBRATION} are needed.",
            fix="Give more real samples, or set allow_few (--allow-few) if these are all there are.",
        )


def _ordered(graph: Graph, item: Item, first: int) -> list[Tensor]:
    names = [info.name for info in graph.inputs]
    if isinstance(item, Mapping):
        if set(item) != set(names):
            raise CalibrationError(
                f"calibration sample {first}: got the inputs {sorted(map(str, item))}, the model takes {names}."
            )
        item = [item[name] for name in names]
    values: Sequence[Any] = item if isinstance(item, (tuple, list)) else [item]
    if len(values) != len(names):
        raise CalibrationError(
            f"calibration sample {first}: got {len(values)} inputs, the model takes {len(names)} ({', '.join(names)}).",
            fix="An item is exactly the inputs; leave labels out.",
        )
    try:
        return [torch.as_tensor(value) for value in values]
    except (TypeError, ValueError, RuntimeError) as error:
        raise CalibrationError(f"calibration sample {first} holds no tensor: {error}.") from error


def _check_form(info: TensorInfo, value: Tensor, first: int) -> None:
    fits = [want in (None, have) for want, have in zip(info.shape, value.shape, strict=False)]
    if value.dim() != len(info.shape) or not all(fits) or value.dtype != info.dtype:
        wanted = ["N" if size is None else size for size in info.shape]
        raise CalibrationError(
            f"calibration sample {first}: input {info.name} is {value.dtype} {list(value.shape)}, "
            f"the model takes {info.dtype} {wanted}."
        )


def _check_finite(info: TensorInfo, value: Tensor, first: int) -> None:
    bad = (~torch.isfinite(value)).nonzero()
    if len(bad):
        raise CalibrationError(
            f"calibration sample {first + (int(bad[0, 0]) if value.dim() else 0)}: "
            f"input {info.name} holds NaN or an infinite value.",
            fix="Clean the data or drop the sample.",
        )
