"""The rows of a benchmark as one SVG: a line for each tier with its median, warm and cold, and the interval of it."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import groupby

from edgekit.bench import charts, words
from edgekit.bench.kernels.result import KernelBench, Row

_LEFT, _WIDTH, _LINE, _TOP = 150, 560, 18, 34  # pixels
_COLOURS = {"warm": "#c2410c", "cold": "#1d4ed8"}


def svg(found: KernelBench) -> str:
    """The drawing; a text that says so where nothing was measured."""
    rows = [row for row in found.rows if row.states]
    body, height = [*_key()], _TOP
    if not rows:
        body.append(_text(_LEFT, height, "nothing was measured"))
    else:
        edges = [edge for row in rows for s in row.states.values() for edge in (s.median.low_us, s.median.high_us)]
        axis = charts.axis([{"edges_us": edges}])
        for case, group in groupby(rows, lambda row: row.case):
            body.append(_text(4, height + 12, case, weight="bold"))
            height += _LINE
            for row in group:
                body += _bars(row, axis, height)
                height += _LINE
        body += _ticks(axis, height)
    size = f'width="{_LEFT + _WIDTH + 20}" height="{height + 30}"'
    style = 'font-family="sans-serif" font-size="12"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n' + "\n".join([*body, "</svg>\n"])


def _key() -> Iterator[str]:
    for place, (state, colour) in enumerate(_COLOURS.items()):
        yield f'<circle cx="{_LEFT + 80 * place}" cy="12" r="4" fill="{colour}"/>'
        yield _text(_LEFT + 80 * place + 9, 16, f"{state} caches")


def _bars(row: Row, axis: charts.Axis, top: int) -> Iterator[str]:
    yield _text(14, top + 12, row.tier)
    for place, (state, colour) in enumerate(_COLOURS.items()):
        one, y = row.states[state].median, top + 5 + 7 * place
        low, middle, high = (_LEFT + axis.at(value) * _WIDTH / 100 for value in (one.low_us, one.us, one.high_us))
        said = f"{row.tier}, {state}: {words.duration(one.us)} ± {one.half_width:.1%}, n = {one.n}"
        yield f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>'
        yield f'<circle cx="{middle:.1f}" cy="{y}" r="4" fill="{colour}"><title>{escape(said)}</title></circle>'


def _ticks(axis: charts.Axis, top: int) -> Iterator[str]:
    for place, label in axis.ticks():
        x = _LEFT + place * _WIDTH / 100
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{top + 4}" stroke="#8886"/>'
        yield _text(round(x) - 14, top + 18, label)


def _text(x: int, y: int, text: str, weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" font-weight="{weight}">{escape(text)}</text>'
