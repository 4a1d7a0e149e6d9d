"""A table in a CSV file (RFC 4180, UTF-8, a header line), read in one pass; at most 4 GiB."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekit.data.column import Column
from edgekit.data.source import MAX_BYTES, Preprocess, Source, allocate
from edgekit.data.split import Arrays, Split
from edgekit.errors import DataError, did_you_mean
from edgekit.options import CsvConfig, TaskKind

if TYPE_CHECKING:
    from torch import nn

MAX_CLASSES = 10_000
Rows = Iterator[tuple[int, list[str]]]
_KINDS = {"classification": True, "reconstruction": True, "regression": False, "custom": False}


def read_table(config: CsvConfig, base: Path, kind: TaskKind) -> Source:
    """Read a table: float32 [N, columns] of raw numbers (words as their place in the sorted list), and targets.

    The targets of a regression are float32 [N, targets]; of a classification or reconstruction int64 [N], the place
    of the label in the sorted list.

    Raises:
        DataError: the file cannot be read as such a table; names the line and the column.
    """
    path = base / str(config.path)
    if kind not in _KINDS:
        raise DataError(f"{path}: a table has no targets for {kind}.", fix=f"`task.kind` may be {', '.join(_KINDS)}.")
    rows = _rows(path, config.delimiter)
    header = [name.strip() for name in next(rows, (0, []))[1]]
    _check_header(path, header, config)
    targets = _targets(config)
    columns = _columns(path, header, config, labels=_KINDS[kind])
    dropped = _fill(path, rows, header, columns, config.missing == "drop")
    features = [column for name, column in columns.items() if name not in (*targets, config.group)]
    group = columns[config.group].numbers().astype(np.int64) if config.group else None
    named = [column.vocabulary() for name, column in columns.items() if name in targets and column.words is not None]
    return Source(
        Split((_stacked(path, features),), _outcomes(path, [columns[name] for name in targets])),
        classes=named[0] if named else (),
        groups=group,
        preprocess=_preprocess(features, config),
        facts={
            "kind": "csv",
            "columns": [{"name": column.name, "words": list(column.vocabulary())} for column in features],
            "targets": list(targets),
            "dropped_lines": dropped,
        },
    )


def _rows(path: Path, delimiter: str) -> Rows:
    """Yield the number of a record's last line, and its cells; blank lines may stand at the end only."""
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        problem = f"is larger than {MAX_BYTES:,} bytes" if path.is_file() else "is no file"
        raise DataError(f"{path} {problem}.", fix="Check `data.csv.path`; a relative path starts at the recipe.")
    if delimiter in '"\r\n ':  # some versions of Python take these
        raise DataError(f"`data.csv.delimiter` cannot be {delimiter!r}.", fix="Give a comma, semicolon, tab or bar.")
    blank = 0
    try:
        with path.open("rb") as file:
            reader = csv.reader(_lines(path, file), delimiter=delimiter, strict=True)
            for row in reader:
                if blank and row:
                    raise DataError(f"{path}, line {blank} is empty.", fix="Remove it.")
                blank = blank or (0 if row else reader.line_num)
                if row:
                    yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}.", fix="Mend the quotes (RFC 4180).") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def _lines(path: Path, file: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}, line {number} is not UTF-8: byte {error.start + 1} of it cannot be read.",
                fix="Save the table as UTF-8.",
            ) from error


def _check_header(path: Path, header: list[str], config: CsvConfig) -> None:
    double = [name for place, name in enumerate(header) if name in header[:place]]
    if not header or "" in header or double:
        problem = f"the name {double[0]!r} stands twice" if double else "a name is missing" if header else "it is empty"
        raise DataError(f"{path}, line 1: {problem}.", fix="Give every column a name of its own.")
    targets = _targets(config)
    asked = {"target": targets, "drop": config.drop, "group": (config.group,) if config.group else ()}
    for key, names in asked.items():
        for name in names:
            if name not in header:
                raise DataError(
                    f"{path} has no column {name!r} (`data.csv.{key}`).{did_you_mean(name, header)}",
                    f"Its columns: {', '.join(header[:12])}.",
                    "Check `data.csv.delimiter` and that line 1 holds the names.",
                )
    given = [*targets, *config.drop, *asked["group"]]
    if not targets or len(set(given)) < len(given):
        raise DataError("`target`, `drop` and `group` of `data.csv` need a target, and no column twice.")
    if len(given) == len(header):
        raise DataError(f"{path} leaves the model no column.", fix="Drop fewer.")


def _columns(path: Path, header: list[str], config: CsvConfig, labels: bool) -> dict[str, Column]:
    """A place for the cells of every column that is not dropped, in the file's order."""
    columns = {name: Column(name, path, gaps=config.missing == "median") for name in header if name not in config.drop}
    columns |= {name: Column(name, path, labels=labels, limit=MAX_CLASSES) for name in _targets(config)}
    if config.group:
        columns[config.group] = Column(config.group, path, labels=True, limit=MAX_BYTES)
    return columns


def _fill(path: Path, rows: Rows, header: list[str], columns: dict[str, Column], drop: bool) -> int:
    """Read all lines into the columns; return how many were dropped for an empty cell."""
    used = [(place, columns[name]) for place, name in enumerate(header) if name in columns]
    dropped = count = 0
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {line} has {len(row)} cells, line 1 has {len(header)}.",
                fix="Mend the line, or its quotes.",
            )
        cells = [row[place].strip() for place, _ in used]
        if drop and "" in cells:
            dropped += 1
            continue
        count += 1
        for cell, (_, column) in zip(cells, used, strict=True):
            column.add(cell, line)
    if not count:
        raise DataError(f"{path} has no line to learn from ({dropped} dropped).", fix="Give it lines below the header.")
    return dropped


def _outcomes(path: Path, columns: list[Column]) -> Arrays:
    """All columns of numbers as one target, and one of classes for each column of words."""
    numbers = [column for column in columns if column.words is None]
    classes = [column.numbers().astype(np.int64) for column in columns if column.words is not None]
    return (*([_stacked(path, numbers)] if numbers else ()), *classes)


def _stacked(path: Path, columns: list[Column]) -> NDArray[np.float32]:
    """Return float32 [N, columns]."""
    first = columns[0].numbers()
    table = allocate(str(path), (len(first), len(columns)), np.float32)
    for place, column in enumerate(columns):
        table[:, place] = column.numbers()
    return table


def _targets(config: CsvConfig) -> tuple[str, ...]:
    return (config.target,) if isinstance(config.target, str) else config.target


def _preprocess(features: list[Column], config: CsvConfig) -> Preprocess | None:
    words = [len(column.words) if column.words is not None else 0 for column in features]
    if config.scale == "none" and config.missing != "median" and not any(words):
        return None

    def build(train: Split) -> nn.Module:
        from edgekit.data.preprocess import standardize

        return standardize(train.inputs[0], words, scale=config.scale, median=config.missing == "median")

    return build
