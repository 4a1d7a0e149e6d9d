"""What each net costs: parameters and multiply-accumulates, counted without making a single weight."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from edgekit.models.catalogue import dimensions, find, names
from edgekit.models.examples import example


@dataclass(frozen=True)
class Row:
    """One net: its inputs by name with the shape behind the batch, and what a batch of 1 costs."""

    name: str
    inputs: dict[str, tuple[int, ...]]
    parameters: int
    macs: int
    source: str


def describe(name: str, **kwargs: Any) -> Row:
    """Count a net that ships, on torch's meta device.

    Args:
        name: of the net.
        kwargs: its arguments, and sizes of the inputs that it leaves open.

    Returns:
        Parameters as PyTorch stores them, a shared one once; multiply-accumulates of matrices, convolutions,
        attention and recurrent layers, half the operations that torch's counter finds.

    Raises:
        ModelError: as :func:`edgekit.models.example_inputs` does.
    """
    entry = find(name)
    with torch.device("meta"):
        model, inputs = example(name, 1, **kwargs)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(*(x.to("meta") for x in inputs))
    values = {**entry.defaults, **entry.sizes, **kwargs}
    shapes = {read.name: dimensions(read, values) for read in entry.reads}
    parameters = sum(p.numel() for p in model.parameters())
    return Row(name, shapes, parameters, counter.get_total_flops() // 2, entry.source)


def table() -> tuple[Row, ...]:
    """Every net that ships, with its default arguments."""
    return tuple(describe(name) for name in names())


def show(rows: Iterable[Row] | None = None) -> str:
    """The rows, by default those of :func:`table`, as Markdown."""
    lines = ["| net | inputs | parameters | MACs | source |", "|---|---|--:|--:|---|"]
    for row in table() if rows is None else rows:
        inputs = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in row.inputs.items())
        lines.append(f"| `{row.name}` | {inputs} | {row.parameters:,} | {_millions(row.macs)} | {row.source} |")
    return "\n".join(lines) + "\n"


def _millions(count: int) -> str:
    return f"{count / 1e6:,.{2 if count < 100e6 else 0}f} M"
