"""Operators that move bytes, by what they move where: the operator itself is run on the numbers of the elements.

At fixed shapes such an operator is a selection of elements of its inputs. It is run in torch on tensors that hold, for
every element, its number, and the result is read: a view, a few copies between views, or a table.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]
FILL = -1  # the source of an element that is a constant byte
MOST_PIECES = 64  # more copies than that are slower than a table
MOST_DIMS = 8


@dataclass(frozen=True)
class Selection:
    """Which element of which source each element of a result is.

    Attributes:
        source: number of the input, FILL for a constant; of the result's sizes.
        place: the element's place in the source's buffer, or the byte; of the result's sizes.
    """

    source: Places
    place: Places


@dataclass(frozen=True)
class Piece:
    """A box of the result that is one strided read of one source.

    Attributes:
        begin: where in the result the box begins, by dimension.
        sizes: of the box, taken apart into more dimensions than the result has where reading needs them.
        dims: the dimension of the result that each of them is a part of.
        within: steps of each inside its dimension.
        source: the input.
        first, steps: in its buffer.
    """

    begin: tuple[int, ...]
    sizes: tuple[int, ...]
    dims: tuple[int, ...]
    within: tuple[int, ...]
    source: int
    first: int
    steps: tuple[int, ...]


def affine(place: Places) -> tuple[int, tuple[int, ...]] | None:
    """First place and steps of places that grow evenly along every dimension; None for others."""
    first = int(place.flat[0])
    steps = tuple(int(_line(place, d)[1]) - first if place.shape[d] > 1 else 0 for d in range(place.ndim))
    expected = _sum_of([first + np.arange(n) * s - first for n, s in zip(place.shape, steps, strict=True)], first)
    return (first, steps) if np.array_equal(place, expected) else None


def radix(line: Places) -> list[tuple[int, int]] | None:
    """A sequence as nested counters (count, step), the outermost first; None where it is not, or goes backwards."""
    if len(line) == 1:
        return []
    step = int(line[1] - line[0])
    differences = np.diff(line)
    breaks = np.flatnonzero(differences != step)
    run = int(breaks[0]) + 1 if len(breaks) else len(line)
    if step < 0 or len(line) % run or run == 1:
        return None
    rows = line.reshape(-1, run)
    if not np.array_equal(rows - rows[:, :1], np.broadcast_to(np.arange(run) * step, rows.shape)):
        return None
    outer = radix(rows[:, 0])
    return None if outer is None else [*outer, (run, step)]


def pieces(selection: Selection) -> list[Piece] | None:
    """The result as boxes, each one strided read; constants are left out. None where there would be too many."""
    whole = _piece(selection, tuple(slice(0, n) for n in selection.source.shape))
    if whole is not None:
        return [whole]
    found = []
    boxes = _boxes(selection)
    if boxes is None:
        return None
    for box in boxes:
        if (selection.source[box] == FILL).all():
            continue
        piece = _piece(selection, box)
        if piece is None:
            return None
        found.append(piece)
    return found


def _piece(selection: Selection, box: tuple[slice, ...]) -> Piece | None:
    source, place = selection.source[box], selection.place[box]
    if (source != source.flat[0]).any() or source.flat[0] == FILL:
        return None
    first = int(place.flat[0])
    lines = [_line(place, d) - first for d in range(place.ndim)]
    if not np.array_equal(place, _sum_of(lines, first)):
        return None
    sizes, dims, within, steps = [], [], [], []
    for d, line in enumerate(lines):
        counters = radix(line)
        if counters is None:
            return None
        inner = 1
        for count, step in reversed(counters):
            sizes.append(count)
            dims.append(d)
            within.append(inner)
            steps.append(step)
            inner *= count
    begin = tuple(part.start for part in box)
    return Piece(begin, tuple(sizes), tuple(dims), tuple(within), int(source.flat[0]), first, tuple(steps))


def _line(place: Places, d: int) -> Places:
    """Along one dimension, from the first element."""
    index: list[int | slice] = [0] * place.ndim
    index[d] = slice(None)
    return place[tuple(index)]


def _sum_of(lines: Sequence[Places], first: int) -> Places:
    total = np.full((1,) * len(lines), first, dtype=np.int64)
    for d, line in enumerate(lines):
        along = [1] * len(lines)
        along[d] = len(line)
        total = total + line.reshape(along)
    return total


def _boxes(selection: Selection) -> Iterator[tuple[slice, ...]] | None:
    """The grid of boxes between the places where the pattern changes along a dimension."""
    cuts = [_cuts(selection, d) for d in range(selection.source.ndim)]
    if np.prod([len(c) + 1 for c in cuts], dtype=np.int64) > MOST_PIECES:
        return None
    edges = [[0, *c, n] for c, n in zip(cuts, selection.source.shape, strict=True)]
    parts = [[slice(a, b) for a, b in itertools.pairwise(edge)] for edge in edges]
    return itertools.product(*parts)


def _cuts(selection: Selection, d: int) -> list[int]:
    """Where, along dimension d, an element does not follow the one before it as that followed its own."""
    source, place = np.moveaxis(selection.source, d, 0), np.moveaxis(selection.place, d, 0)
    found, step = list[int](), None
    for at in range(1, len(source)):
        same = np.array_equal(source[at], source[at - 1])
        change = (place[at] - place[at - 1])[source[at] != FILL] if same else np.empty(0, np.int64)
        even = same and (not change.size or bool((change == change[0]).all()))
        here = int(change[0]) if even and change.size else None
        if even and (step is None or here is None or here == step):
            step = here if here is not None else step
            continue
        found.append(at)
        step = None
    return found
