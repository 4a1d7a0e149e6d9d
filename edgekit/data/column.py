"""One column of a table as its cells come in: all numbers, or all words."""

from __future__ import annotations

import math
from array import array

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError

MAX_WORDS = 256  # of a column that becomes one value for each word
_LARGEST = float(np.finfo(np.float32).max)


class Column:
    """Cells of one column; the first that is not empty decides whether it holds numbers or words.

    Attributes:
        name: in the header.
        words: each word with its number, in the order of appearance; None for numbers.
    """

    def __init__(self, name: str, path: object, *, labels: bool = False, gaps: bool = False, limit: int = MAX_WORDS):
        """Begin an empty column.

        Args:
            name: in the header.
            path: the file, for messages.
            labels: every cell is a word, even ``1``.
            gaps: an empty cell is NaN instead of an error.
            limit: the largest number of different words.
        """
        self.name, self.words = name, dict[str, int]() if labels else None
        self._path, self._labels, self._gaps, self._limit = path, labels, gaps, limit
        self._values, self._first, self._gap = array("d"), 0, 0

    def add(self, cell: str, line: int) -> None:
        """Append the cell of a line.

        Raises:
            DataError: an empty cell, NaN or Inf spelled out, a number too large for float32, a word among numbers or a
                number among words, or too many different words.
        """
        if not cell:
            return self._add_gap(line)
        value = None if self._labels else self._number(cell, line)
        if not self._first:
            self._first = line
            self.words = {} if value is None else None
            if value is None and self._gap:
                raise self._no_median(self._gap)
        if (self.words is None) != (value is not None):
            raise DataError(
                f"{self._at(line)}: {cell!r} stands in a column of {'numbers' if self.words is None else 'words'}.",
                f"Its first cell, in line {self._first}, decides.",
                f"Mend the cell, leave it empty (`data.csv.missing`), or name {self.name!r} in `data.csv.drop`.",
            )
        self._values.append(self._code(cell, line) if value is None else value)
        return None

    def numbers(self) -> NDArray[np.float64]:
        """The numbers, NaN for a gap; or of each word its place in :meth:`vocabulary`."""
        if self._gap and not self._first:
            raise DataError(f"{self._path}: column {self.name!r} is empty.", fix="Name it in `data.csv.drop`.")
        values = np.frombuffer(self._values, np.float64)
        if self.words is None:
            return values
        places = {word: place for place, word in enumerate(self.vocabulary())}
        return np.array([places[word] for word in self.words], np.float64)[values.astype(np.int64)]

    def vocabulary(self) -> tuple[str, ...]:
        """The words in order: by value where all are integers, else by the alphabet; none for numbers."""
        words = self.words or {}
        try:
            return tuple(sorted(words, key=int))
        except ValueError:
            return tuple(sorted(words))

    def _add_gap(self, line: int) -> None:
        if not self._gaps:
            raise DataError(f"{self._at(line)} is empty.", fix="Fill it, or set `data.csv.missing`.")
        if self.words is not None:
            raise self._no_median(line)
        self._gap = self._gap or line
        self._values.append(math.nan)

    def _no_median(self, line: int) -> DataError:
        return DataError(
            f"{self._at(line)} is empty.",
            "A column of words has no median.",
            "Write a word for it, or `missing: drop`.",
        )

    def _number(self, cell: str, line: int) -> float | None:
        try:
            value = float(cell)
        except ValueError:
            return None
        if "_" in cell:  # Python reads 1_000, nobody else does
            return None
        if not math.isfinite(value) or abs(value) > _LARGEST:
            raise DataError(
                f"{self._at(line)} is {cell}, which is no finite float32.",
                fix="Mend it, or leave the cell empty and say in `data.csv.missing` what that means.",
            )
        return value

    def _code(self, cell: str, line: int) -> int:
        assert self.words is not None
        code = self.words.setdefault(cell, len(self.words))
        if len(self.words) > self._limit:
            raise DataError(
                f"{self._at(line)}: the column has more than {self._limit} different words.",
                fix="Name it in `data.csv.drop`; a target of so many values needs `task.kind: regression`.",
            )
        return code

    def _at(self, line: int) -> str:
        return f"{self._path}, line {line}, column {self.name!r}"
