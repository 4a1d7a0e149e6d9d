"""One offline HTML page out of ``results.json``, and out of nothing else: the same results give the same bytes.

Charts are inline SVG and HTML from Jinja macros rather than matplotlib's output: they follow the reader's light or dark
setting and the width of the window, their text is text, and no version of a plotting library changes a byte.
The page runs no script and forbids any by its own content security policy; every text is escaped.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekit.bench import charts, words
from edgekit.bench.rows import Row, Task, final, headline, rows
from edgekit.errors import InputError, MissingDependency

SCHEMA = 2
WORST = 3  # layers that are pointed out
_LISTS = ("variants", "layers", "exports", "gates", "stages")
_DICTS = ("recipe", "data", "environment", "pruning")
_FILTERS = ("size", "count", "duration", "energy", "seconds", "metric", "plain", "decibels", "factor", "fact")


def render(results: Mapping[str, Any]) -> str:
    """The report as one HTML document without any link to elsewhere; what is missing is printed as not measured.

    Raises:
        InputError: the results are no mapping of a schema that this version reads.
        MissingDependency: Jinja2 is not installed.
    """
    if not isinstance(results, Mapping) or results.get("schema") != SCHEMA:
        found = results.get("schema") if isinstance(results, Mapping) else type(results).__name__
        raise InputError(f"the results have schema {found!r}, this version reads schema {SCHEMA}.", fix="Run it again.")
    shown = _shaped(results)
    table, task = rows(shown["variants"]), Task.of(shown.get("task"))
    stays_float = shown["recipe"].get("quantize", "") is None
    values = {
        "results": shown,
        "table": table,
        "final": final(table),
        "headline": headline(table, task, stays_float),
        "task": task,
        "stays_float": stays_float,
        "splits": _splits(table),
        "panels": _panels(table),
        "energy_reason": _energy_reason(table),
        "layers": _layers(shown["layers"]),
        "recipe": json.dumps(shown["recipe"], indent=2, ensure_ascii=False),
    }
    return str(_template().render(values))


def _template() -> Any:
    try:
        jinja2 = importlib.import_module("jinja2")
    except ImportError as error:
        raise MissingDependency(
            "the report needs jinja2.", f"{error}.", "Try: pip install 'edgekit[report]'."
        ) from error
    return _compiled(jinja2)


@cache
def _compiled(jinja2: ModuleType) -> Any:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        finalize=lambda value: words.MISSING if value is None or isinstance(value, jinja2.Undefined) else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({name: getattr(words, name) for name in _FILTERS})
    return environment.get_template("report.html.j2")


def _shaped(results: Mapping[str, Any]) -> dict[str, Any]:
    """A copy, all texts visible, whose sections have the types that the page walks over; the rest is left out."""
    shown: dict[str, Any] = {str(key): words.clean(value) for key, value in results.items()}
    for key in _LISTS:
        shown[key] = _mappings(shown.get(key))
    for key in _DICTS:
        shown[key] = shown[key] if isinstance(shown.get(key), dict) else {}
    data, pruning = shown["data"], shown["pruning"]
    shown["findings"] = _mappings(data.get("findings"))
    shown["sizes"] = data["splits"] if isinstance(data.get("splits"), dict) else {}
    shown["pruned"], shown["kept"] = _mappings(pruning.get("layers")), _mappings(pruning.get("not_pruned"))
    shown["facts"] = data["facts"] if isinstance(data.get("facts"), dict) else {}
    packages = shown["environment"].get("packages")
    shown["packages"] = packages if isinstance(packages, dict) else {}
    reproduce = shown.get("reproduce")
    shown["reproduce"] = [line for line in reproduce if isinstance(line, str)] if isinstance(reproduce, list) else []
    return shown


def _mappings(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _splits(table: list[Row]) -> list[str]:
    """Names of the data sets with metrics, in the order in which they appear."""
    return list(dict.fromkeys(key for row in table for key in row.quality))


def _panels(table: list[Row]) -> list[dict[str, Any]]:
    """One histogram for each compressed variant, the report's own first, with the float baseline drawn behind it."""
    drawable = [row for row in table if charts.is_histogram(row.bench.get("histogram"))]
    base = next((row for row in drawable if row.is_baseline), None)
    own = final(table)
    compressed = sorted((row for row in drawable if not row.is_baseline), key=lambda row: row is not own)
    pairs = [(row, base) for row in compressed] or [(row, None) for row in drawable]
    return [_panel(row, behind) for row, behind in pairs]


def _panel(row: Row, behind: Row | None) -> dict[str, Any]:
    axis = charts.axis([item.bench["histogram"] for item in (row, behind) if item is not None])
    return {**_drawn(row, axis), "axis": axis, "base": None if behind is None else _drawn(behind, axis)}


def _drawn(row: Row, axis: charts.Axis) -> dict[str, Any]:
    median = None if row.p50 is None else axis.at(row.p50)
    return {"row": row, "path": charts.outline(row.bench["histogram"], axis), "median": median}


def _energy_reason(table: list[Row]) -> str | None:
    """The one reason for which no timed variant has an energy figure, where it is one: said once below the table."""
    reasons = {row.why_no_energy for row in table if row.p50 is not None}
    return reasons.pop() if len(reasons) == 1 else None


def _layers(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """Layers with the length of their bars in percent; the worst ones are marked."""
    known = sorted(value for layer in layers if (value := words.number(layer.get("sqnr_db"))) is not None)
    longest = max([60.0, *known])
    bound = known[:WORST][-1] if known else None
    bars = []
    for layer in layers:
        value = words.number(layer.get("sqnr_db"))
        length = 100.0 if value is None else round(100 * max(value, 0.0) / longest, 2)
        bars.append({**layer, "length": length, "worst": bound is not None and value is not None and value <= bound})
    worst = sorted((bar for bar in bars if bar["worst"]), key=lambda bar: float(bar["sqnr_db"]))
    return {"bars": bars, "worst": worst[:WORST]}
