"""What a reader of files hands over, before it is split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.data.split import Split

if TYPE_CHECKING:
    from torch import nn

Preprocess = Callable[[Split], "nn.Module"]


@dataclass(frozen=True)
class Source:
    """Items as the exported graph will read them.

    Attributes:
        items: all of them, or the training items where the source brings its own ``test``.
        test: the held-out items that the source itself names.
        classes: names of the labels, in order; empty where the targets are no classes.
        groups: a number for each of ``items``; equal ones never stand on both sides of a split (a patient, a speaker).
        preprocess: makes, from the training items, the module that stands in front of the model and becomes part of
            the exported graph; it holds buffers and no parameters, and reads ``items.inputs`` as they are.
        facts: what the report says about the data, as plain JSON values.
    """

    items: Split
    test: Split | None = None
    classes: tuple[str, ...] = ()
    groups: NDArray[np.int64] | None = None
    preprocess: Preprocess | None = None
    facts: dict[str, Any] = field(default_factory=dict)
