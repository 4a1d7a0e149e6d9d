"""``edgekit.compare``: two forms of a net on the same inputs, value by value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.debug.tables import decibels, table
from edgekit.debug.values import Origin, Values, open_values
from edgekit.errors import DataError, UsageError
from edgekit.graph import Graph
from edgekit.runtime import Outputs, Runner
from edgekit.sqnr import Sqnr

_HEADER = ("value", "in a", "in b", "dB", "largest", "differing", "source")
_WORST = 3


@dataclass(frozen=True)
class Difference:
    """One value of both.

    Attributes:
        name: by which both know it.
        operator_a, operator_b: what makes it in each.
        sqnr_db: signal to noise of b against a over all items; None where nothing differs.
        largest: the largest absolute difference.
        differing, count: how many numbers differ, and of how many.
        source: file and line of the user's code, where a graph knows it.
        note: why the two cannot be compared; empty if they can.
    """

    name: str
    operator_a: str
    operator_b: str
    sqnr_db: float | None
    largest: float
    differing: int
    count: int
    source: str = ""
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two artefacts on the same items.

    Attributes:
        a, b: their names.
        ran: how each was run.
        items: how many items were compared.
        outputs: the outputs, by their places.
        layers: the values that both have, in the order in which a computes them; empty where only outputs were asked.
        only_a, only_b: names of values that the other does not have.
    """

    a: str
    b: str
    ran: tuple[str, str]
    items: int
    outputs: tuple[Difference, ...]
    layers: tuple[Difference, ...]
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()

    def worst(self, count: int = _WORST) -> tuple[Difference, ...]:
        """The values with the lowest signal to noise, lowest first."""
        differing = [row for row in self.layers if row.sqnr_db is not None and not row.note]
        return tuple(sorted(differing, key=lambda row: row.sqnr_db or 0.0)[:count])

    def to_json(self) -> dict[str, Any]:
        """The comparison as plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"a: {self.a} ({self.ran[0]}), b: {self.b} ({self.ran[1]}), {self.items} items"]
        lines += table(
            _HEADER, [*map(_row, self.layers), *map(_row, self.outputs)], right=("dB", "largest", "differing")
        )
        if self.layers:
            lines.append(
                f"{len(self.layers)} values in both, {len(self.only_a)} only in a, {len(self.only_b)} only in b"
            )
        if worst := self.worst():
            lines.append(f"worst: {', '.join(f'{row.name} {decibels(row.sqnr_db)} dB' for row in worst)}")
        return "\n".join(lines)


@dataclass
class _Tally:
    sums: Sqnr = field(default_factory=Sqnr)
    largest: float = 0.0
    differing: int = 0
    count: int = 0
    note: str = ""

    def add(self, a: NDArray[Any], b: NDArray[Any]) -> None:
        if a.shape != b.shape:
            self.note = f"its shape is {list(a.shape)} in a, {list(b.shape)} in b"
            return
        self.sums.add(a, b)
        self.count += a.size
        same = (a == b) | (np.isnan(a) & np.isnan(b)) if a.dtype.kind == "f" else a == b
        self.differing += a.size - int(np.count_nonzero(same))
        if a.size and not np.all(same):
            self.largest = max(self.largest, float(np.abs(a.astype(np.float64) - b).max()))


def compare(a: Graph | str | Path, b: Graph | str | Path, inputs: Iterable[Any], *, layers: bool = True) -> Comparison:
    """Run two forms of a net on the same items and measure how far b is from a, at every value that both know.

    Values are matched by name: a graph, what is quantised and lowered from it, and files exported from any of them use
    the same ones. A value in INT8 counts as the real numbers that it stands for.

    Args:
        a: float, quantised or integer Graph, a ``.safetensors`` of one, an ``.onnx`` file, also by others, or a plan
            (``.ekm``), which shows its outputs alone.
        b: the same.
        inputs: items as :func:`edgekit.quantize` takes them.
        layers: compare all values, or only the outputs.

    Raises:
        UsageError: for something else than a Graph or such a file, for no items, and for another number of outputs.
        DataError: for an item that does not fit one of them; names the input.
        GraphFileError: for a damaged file.
    """
    one, other = open_values(a), open_values(b)
    if len(one.runner.outputs) != len(other.runner.outputs):
        counts = [f"{side.name} has {len(side.runner.outputs)} outputs" for side in (one, other)]
        raise UsageError(f"{', '.join(counts)}: these are not two forms of one net.")
    names = [name for name in one.origins if name in other.origins] if layers else []
    tallies, ends = {name: _Tally() for name in names}, [_Tally() for _ in one.runner.outputs]
    items = 0
    for item in inputs:
        arrays = as_arrays(one.runner, item)
        (values_a, outputs_a), (values_b, outputs_b) = (_run(side, arrays, layers) for side in (one, other))
        for name, tally in tallies.items():
            tally.add(values_a[name], values_b[name])
        for tally, left, right in zip(ends, outputs_a, outputs_b, strict=True):
            tally.add(left, right)
        items += len(arrays[0]) if arrays and arrays[0].ndim else 1
    if not items:
        raise UsageError("there are no items to compare on.", fix="Give real inputs.")
    names = [info.name for info in one.runner.outputs]
    outputs = map(_difference, names, one.ends, other.ends, ends)
    return Comparison(
        one.name,
        other.name,
        (one.words, other.words),
        items,
        tuple(outputs),
        tuple(_difference(name, one.origins[name], other.origins[name], tally) for name, tally in tallies.items()),
        tuple(name for name in one.origins if name not in other.origins) if layers else (),
        tuple(name for name in other.origins if name not in one.origins) if layers else (),
    )


def as_arrays(runner: Runner, item: Any) -> Outputs:
    """An item as one array for each input of an artefact.

    Raises:
        DataError: for the wrong names.
    """
    if isinstance(item, Mapping):
        names = [info.name for info in runner.inputs]
        if set(item) != set(names):
            raise DataError(f"an item has the inputs {sorted(map(str, item))}, {runner.name} takes {names}.")
        item = [item[name] for name in names]
    values: Sequence[Any] = item if isinstance(item, (tuple, list)) else [item]
    arrays = [v.detach().cpu().numpy() if isinstance(v, torch.Tensor) else np.asarray(v) for v in values]
    return tuple(map(np.ascontiguousarray, arrays))


def _run(side: Values, arrays: Outputs, layers: bool) -> tuple[dict[str, NDArray[Any]], Outputs]:
    return side.run(arrays) if layers else ({}, side.runner.run(*arrays))


def _difference(name: str, a: Origin, b: Origin, tally: _Tally) -> Difference:
    db, source = tally.sums.db, a.source or b.source
    return Difference(name, a.operator, b.operator, db, tally.largest, tally.differing, tally.count, source, tally.note)


def _row(row: Difference) -> tuple[str, ...]:
    if row.note:
        return row.name, row.operator_a, row.operator_b, "-", "-", "-", row.note
    share = f"{row.differing} of {row.count}"
    return row.name, row.operator_a, row.operator_b, decibels(row.sqnr_db), f"{row.largest:.3g}", share, row.source
