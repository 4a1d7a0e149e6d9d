"""What a rule is, and the one for values that arrive as floats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import fx

from edgekit.fuse.work import Work
from edgekit.graph import kinds, patterns
from edgekit.graph.patterns import Cell
from edgekit.ops import numerics

s8 = torch.ops.edgekit


def always(_: Work, __: Cell) -> str:
    """Every cell of the kind can be lowered."""
    return ""


def same_scale(_: Work, cell: Cell) -> str:
    """Moved bytes keep their scale."""
    own = cell.scale.target
    reads = [patterns.scale_node(patterns.bytes_of(node)).target for node in kinds.operands(cell.body)]
    return "" if set(reads) == {own} else "it moves bytes, but its output has another scale than its input"


@dataclass(frozen=True)
class Rule:
    """Which kind of cells, why one of them cannot be lowered (or an empty string), and its integer operator."""

    name: str
    rewrite: Callable[[Work, Cell], fx.Node]
    check: Callable[[Work, Cell], str] = always


def _quantise(work: Work, cell: Cell) -> fx.Node:
    name = f"{cell.body.name}_s8"
    if cell.body.op == "get_attr":  # known now: stored as bytes
        return work.stored(name, numerics.quantize(work.tensor(cell.body), work.scale(cell.end)))
    scale = work.stored(f"{cell.body.name}_scale", work.scale(cell.end))
    arguments = (work.plain(cell.real), scale)
    return work.structure.create_node("call_function", s8.quantize_s8.default, arguments, name=name)


border = Rule("border", _quantise)
