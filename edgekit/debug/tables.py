"""Rows as text: columns as wide as they must be, numbers to the right."""

from __future__ import annotations

from collections.abc import Sequence

_WIDEST = 60


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> list[str]:
    """Lines of a table; the columns named in ``right`` end at one edge, and the last one may be of any width."""
    cells = [tuple(header), *(tuple(map(_short, row[:-1])) + (row[-1],) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return ["  ".join(map(_fit, row, widths, [name in right for name in header])).rstrip() for row in cells]


def _fit(cell: str, width: int, right: bool) -> str:
    return cell.rjust(width) if right else cell.ljust(width)


def _short(cell: str) -> str:
    return cell if len(cell) <= _WIDEST else f"{cell[: _WIDEST - 3]}..."


def decibels(value: float | None) -> str:
    """A signal to noise ratio as text; nothing differs where there is none."""
    return "exact" if value is None else f"{value:.1f}"


def listed(names: Sequence[object], most: int = 4) -> str:
    """``a, b and 3 more``."""
    shown = ", ".join(map(str, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
