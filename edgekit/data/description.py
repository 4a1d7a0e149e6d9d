"""What a data set is, as one JSON document and as text for people: sizes, shapes, ranges, classes, findings."""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.data.split import Split

if TYPE_CHECKING:
    from edgekit.data.dataset import Dataset

MOST_CLASSES = 20  # that the text lists
LONGEST = 160  # characters of a name from a file that are shown


def describe(dataset: Dataset) -> dict[str, Any]:
    """Say what a run would read, as plain JSON values.

    Returns:
        ``source``, ``splits`` (number of items of each set), ``inputs`` and ``targets`` (type, shape, range, mean and
        deviation over train), ``classes`` (name and number of items in each set; None where items have no one class),
        ``preprocessed``, ``facts``, ``findings`` and ``summary`` (how many of them warn).
    """
    named = {name: getattr(dataset, name) for name in ("train", "validation", "calibration", "test", "varied")}
    sets: dict[str, Split] = {name: split for name, split in named.items() if split is not None}
    warnings = sum(finding["level"] == "warn" for finding in dataset.findings)
    return {
        "source": dataset.name,
        "splits": {name: len(split) for name, split in sets.items()},
        "inputs": [_array(array) for array in dataset.train.inputs],
        "targets": [_array(array) for array in dataset.train.targets],
        "classes": _classes(dataset, sets),
        "preprocessed": dataset.preprocess is not None,
        "facts": dict(dataset.facts),
        "findings": list(dataset.findings),
        "summary": {"ok": len(dataset.findings) - warnings, "warn": warnings},
    }


def show(content: Mapping[str, Any]) -> str:
    """Say the same to people; nothing that a file named itself can move the cursor, colour or add a line."""
    width = max(60, min(shutil.get_terminal_size((100, 24)).columns, 160))
    sizes = ", ".join(f"{name} {count:,}" for name, count in content["splits"].items())
    lines = [f"{_visible(content['source'])}: {sizes} items"]
    for key in ("inputs", "targets"):
        lines += [f"  {key[:-1]} {place}: {_spoken(array)}" for place, array in enumerate(content[key])]
    lines += _class_lines(content["classes"] or [])
    facts = {key: value for key, value in content["facts"].items() if isinstance(value, (str, int, float))}
    lines += [f"  {_visible(key)}: {_visible(value)}" for key, value in facts.items()]
    lines += ["", *_finding_lines(content["findings"], width), "", _summary(content["summary"])]
    return "\n".join(lines)


def _array(array: NDArray[Any]) -> dict[str, Any]:
    """Type, shape and range; missing values (NaN) are counted and left out."""
    found: dict[str, Any] = {"dtype": str(array.dtype), "shape": ["N", *array.shape[1:]]}
    values = array[~np.isnan(array)] if array.dtype.kind == "f" and np.isnan(array).any() else array
    if not values.size:
        return found | {"missing": array.size}
    mean, deviation = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    found |= {"min": values.min().item(), "max": values.max().item(), "mean": mean, "deviation": deviation}
    return found | {"missing": array.size - values.size}


def _classes(dataset: Dataset, sets: Mapping[str, Split]) -> list[dict[str, Any]] | None:
    labels = dataset.train.targets[0]
    if not dataset.classes or labels.dtype.kind not in "iu" or labels.ndim != 1:
        return None
    counts = {name: np.bincount(split.targets[0], minlength=dataset.classes) for name, split in sets.items()}
    names = dataset.class_names or tuple(map(str, range(dataset.classes)))
    return [{"name": names[label], **{name: int(counts[name][label]) for name in sets}} for label in range(len(names))]


def _spoken(array: Mapping[str, Any]) -> str:
    shape = ", ".join(map(str, array["shape"]))
    if "min" not in array:
        return f"{array['dtype']} [{shape}], no values"
    spread = f", mean {array['mean']:.4g}, deviation {array['deviation']:.4g}" if array["dtype"] != "int64" else ""
    missing = f", {array['missing']:,} missing" if array["missing"] else ""
    return f"{array['dtype']} [{shape}], {array['min']:.6g} to {array['max']:.6g}{spread}{missing}"


def _class_lines(classes: list[dict[str, Any]]) -> Iterator[str]:
    for entry in classes[:MOST_CLASSES]:
        counts = ", ".join(f"{name} {count:,}" for name, count in entry.items() if name != "name")
        yield f"  class {_visible(entry['name'])}: {counts}"
    if len(classes) > MOST_CLASSES:
        yield f"  and {len(classes) - MOST_CLASSES} more classes"


def _finding_lines(findings: list[Mapping[str, Any]], width: int) -> Iterator[str]:
    """Warnings first, each check's name in a column of its own."""
    column = max([len(finding["check"]) for finding in findings], default=0)
    for finding in sorted(findings, key=lambda found: found["level"] == "ok"):
        head = f"  {finding['level']:<4}  {finding['check']:<{column}}  "
        yield textwrap.fill(
            _visible(finding["message"], 4 * LONGEST), width, initial_indent=head, subsequent_indent=" " * len(head)
        )


def _summary(summary: Mapping[str, int]) -> str:
    if not summary["warn"]:
        return f"{summary['ok']} checks, nothing doubtful"
    return f"{summary['ok'] + summary['warn']} checks, {summary['warn']} of them warn"


def _visible(value: object, longest: int = LONGEST) -> str:
    words = str(f"{value:.6g}" if isinstance(value, float) and math.isfinite(value) else value)
    shown = "".join(c if c.isprintable() else "?" for c in words[:longest])
    return shown + ("..." if len(words) > longest else "")
