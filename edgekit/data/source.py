"""What a reader of files hands over, before it is split."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edgekit.data.split import Split
from edgekit.errors import DataError

if TYPE_CHECKING:
    from torch import nn

MAX_BYTES = 4 * 2**30  # of one array in memory

Preprocess = Callable[[Split], "nn.Module"]


@dataclass(frozen=True)
class Learned:
    """What a reader learned from the training items about how to encode all of them.

    Attributes:
        encode: items as the reader handed them over to items as the exported graph reads them.
        facts: what the report says about it.
        assets: files that a device needs beside the graph, by name.
    """

    encode: Callable[[Split], Split]
    facts: dict[str, Any] = field(default_factory=dict)
    assets: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Items as the exported graph will read them.

    Attributes:
        items: all of them, or the training items where the source brings its own ``test``.
        test: the held-out items that the source itself names.
        classes: names of the labels, in order; empty where the targets are no classes or have no names.
        groups: a number for each of ``items``; equal ones never stand on both sides of a split (a patient, a speaker).
        preprocess: makes, from the training items, the module that stands in front of the model and becomes part of
            the exported graph; it holds buffers and no parameters, and reads ``items.inputs`` as they are.
        facts: what the report says about the data, as plain JSON values.
        learn: for items that cannot be encoded before training items are known (word pieces); ``items`` and ``test``
            are then placeholders that what it returns encodes.
        test_groups: a number for each of ``test``, as ``groups``; it is reported which of them also stand in train.
    """

    items: Split
    test: Split | None = None
    classes: tuple[str, ...] = ()
    groups: NDArray[np.int64] | None = None
    preprocess: Preprocess | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    learn: Callable[[Split], Learned] | None = None
    test_groups: NDArray[np.int64] | None = None


def allocate(what: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array of zeros, once it is known to be no larger than :data:`MAX_BYTES`; DataError names ``what``."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size > MAX_BYTES:
        raise DataError(
            f"{what} would take {size:,} bytes of memory.",
            f"The limit is {MAX_BYTES:,} for one array.",
            "Use fewer or smaller items.",
        )
    return np.zeros(shape, dtype)
