"""Tensors of a plan while it is made: views with steps into buffers, as the file has them.

Sizes and steps stand in the order of torch's dimensions, whatever lies behind what in memory: an image that is stored
channels last is [N, C, H, W] with a channel step of 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Content = bytes
Margins = tuple[int, int, int, int]  # top, left, bottom, right


class Element(IntEnum):
    """The type of an element; the number is that in the file."""

    S8 = 0
    U8 = 1
    S16 = 2
    S32 = 3
    S64 = 4
    F32 = 5
    BOOL = 6

    @property
    def bytes(self) -> int:
        """Of one element."""
        return (1, 1, 2, 4, 8, 4, 1)[self]

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The same type to numpy."""
        return np.dtype(("i1", "u1", "<i2", "<i4", "<i8", "<f4", "?")[self])


class Storage(IntEnum):
    """Whose memory a buffer is; the number is that in the file."""

    ARENA = 0
    CONSTANT = 1
    STATE = 2
    INPUT = 3
    OUTPUT = 4


@dataclass(eq=False)
class Buffer:
    """A region of memory.

    Attributes:
        storage: where it lies.
        bytes: its size.
        data: what a constant holds.
        margins: around an image that convolutions pad: top, left, bottom, right.
        place: its offset in the storage, or the number of its port, once that is known.
    """

    storage: Storage
    bytes: int
    data: Content | None = None
    margins: Margins = (0, 0, 0, 0)
    place: int = -1


@dataclass(frozen=True)
class View:
    """Elements of a buffer: ``first + sum(index * step)``, all counted in elements."""

    buffer: Buffer
    element: Element
    sizes: tuple[int, ...]
    steps: tuple[int, ...]
    first: int = 0
    scale: float = 0.0

    @property
    def count(self) -> int:
        """How many elements."""
        return math.prod(self.sizes)

    @property
    def repeats(self) -> bool:
        """Whether an element is read more than once."""
        return any(size > 1 and step == 0 for size, step in zip(self.sizes, self.steps, strict=True))

    @property
    def order(self) -> tuple[int, ...]:
        """The dimensions from the outermost in memory to the innermost; those of size 1 stay where torch has them."""
        return in_order(self.sizes, self.steps)

    @property
    def is_dense(self) -> bool:
        """Whether the elements lie in torch's order without gaps."""
        return self.is_dense_in(range(len(self.sizes)))

    def is_dense_in(self, order: Sequence[int]) -> bool:
        """Whether they do in this order of dimensions."""
        step = 1
        for d in reversed(order):
            if self.sizes[d] != 1 and self.steps[d] != step:
                return False
            step *= self.sizes[d]
        return True

    def permuted(self, order: Sequence[int]) -> View:
        """The dimensions in another order."""
        return replace(self, sizes=tuple(self.sizes[d] for d in order), steps=tuple(self.steps[d] for d in order))

    def at(self, scale: float) -> View:
        """The same bytes with a scale."""
        return replace(self, scale=scale)

    def expanded(self, sizes: Sequence[int]) -> View:
        """Broadcast to larger sizes, by steps of 0."""
        missing = len(sizes) - len(self.sizes)
        own = (1,) * missing + self.sizes
        steps = [0 if have == 1 else step for have, step in zip(own, (0,) * missing + self.steps, strict=True)]
        return replace(self, sizes=tuple(sizes), steps=tuple(steps))

    def reshaped(self, sizes: Sequence[int]) -> View | None:
        """The same elements with other sizes; None where steps cannot say that."""
        steps = _regrouped(self.sizes, self.steps, tuple(sizes))
        return None if steps is None else replace(self, sizes=tuple(sizes), steps=steps)

    def places(self) -> NDArray[np.int64]:
        """For every element, in torch's order, where it lies in the buffer."""
        total = np.full((1,) * len(self.sizes), self.first, dtype=np.int64)
        for d, (size, step) in enumerate(zip(self.sizes, self.steps, strict=True)):
            along = [1] * len(self.sizes)
            along[d] = size
            total = total + (np.arange(size, dtype=np.int64) * step).reshape(along)
        return total


def dense_steps(sizes: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """The steps of a tensor without gaps whose dimensions lie in this order, the innermost last."""
    steps, step = [0] * len(sizes), 1
    for d in reversed(order):
        steps[d] = step
        step *= sizes[d]
    return tuple(steps)


def in_order(sizes: Sequence[int], steps: Sequence[int]) -> tuple[int, ...]:
    """Dimensions by falling steps; one of size 1 stays beside its neighbour, since its step means nothing."""
    large = sorted((d for d in range(len(sizes)) if sizes[d] != 1), key=lambda d: (-steps[d], d))
    found = list(large)
    for d in range(len(sizes)):
        if sizes[d] == 1:
            found.insert(found.index(d - 1) + 1 if d else 0, d)
    return tuple(found)


def merged(views: Sequence[View], order: Sequence[int]) -> list[View]:
    """Views of equal sizes with their dimensions in one order, neighbours joined as far as all of them allow."""
    dims = [d for d in order if views[0].sizes[d] != 1]
    groups: list[list[int]] = []
    for d in dims:
        if groups and all(view.steps[groups[-1][-1]] == view.steps[d] * view.sizes[d] for view in views):
            groups[-1].append(d)
        else:
            groups.append([d])
    sizes = tuple(math.prod(views[0].sizes[d] for d in group) for group in groups) or (1,)
    return [replace(v, sizes=sizes, steps=tuple(v.steps[group[-1]] for group in groups) or (1,)) for v in views]


def _regrouped(sizes: tuple[int, ...], steps: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...] | None:
    """Steps for new sizes over the same elements in the same order, as torch's view computes them."""
    if math.prod(sizes) == 0:
        return dense_steps(new, range(len(new)))
    old = [(size, step) for size, step in zip(sizes, steps, strict=True) if size != 1]
    result, at = [0] * len(new), len(new) - 1
    while old:
        size, step = old.pop()
        while old and old[-1][1] == step * size:  # a run of dimensions that memory sees as one
            size *= old.pop()[0]
        while at >= 0 and (size > 1 or new[at] == 1):
            if size % new[at]:
                return None
            result[at], step, size, at = step, step * new[at], size // new[at], at - 1
        if size != 1:
            return None
    for d in range(at, -1, -1):
        result[d] = result[d + 1] * new[d + 1] if d + 1 < len(new) else 1
    return tuple(result)
