"""Averages and sums: over windows, and over whole axes."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgekit.fuse.rules.rule import Rule
from edgekit.fuse.work import Work
from edgekit.graph import edit
from edgekit.graph.patterns import Cell
from edgekit.ops import numerics

aten, s8 = torch.ops.aten, torch.ops.edgekit


def pool_geometry(body: fx.Node) -> tuple[list[int], list[int], list[int], bool, bool, int | None]:
    """kernel, stride, padding, ceil_mode, count_include_pad, divisor_override; a line is one row."""
    parts = edit.arguments(body)
    kernel = pair(body, parts["kernel_size"], 1)
    stride = pair(body, parts["stride"], 1) if parts["stride"] else kernel
    padding = pair(body, parts["padding"], 0)
    return kernel, stride, padding, parts["ceil_mode"], parts["count_include_pad"], parts.get("divisor_override")


def pair(body: fx.Node, value: Any, row: int) -> list[int]:
    """A number for height and one for width; pools over one axis see a single row."""
    values = [value] if isinstance(value, int) else list(value)
    if body.target in (aten.avg_pool1d.default, aten.max_pool1d.default):
        return [row, *values]
    return values * 2 if len(values) == 1 else values


def as_rows(work: Work, cell: Cell, target: Any, x: fx.Node, *args: Any) -> fx.Node:
    """Call an operator on images, also where the body works on [N, C, L]."""
    if cell.body.target not in (aten.avg_pool1d.default, aten.max_pool1d.default):
        return work.call(cell, target, x, *args)
    rows = work.step(target, work.step(aten.unsqueeze.default, x, 2), *args)
    return work.call(cell, aten.squeeze.dim, rows, 2)


def _pool(work: Work, cell: Cell) -> fx.Node:
    kernel, stride, padding, ceil_mode, include_pad, divisor = pool_geometry(cell.body)
    source = edit.input_node(cell.body)
    table = numerics.pool_multipliers(work.scale(source), work.scale(cell.end), kernel[0] * kernel[1], divisor)
    multiplier = work.stored(f"{cell.body.name}.multiplier", table)
    arguments = (multiplier, kernel, stride, padding, ceil_mode, include_pad, *work.bounds(cell))
    return as_rows(work, cell, s8.avg_pool_s8.default, work.value(source), *arguments)


def _reduce(work: Work, cell: Cell) -> fx.Node:
    parts, source = edit.arguments(cell.body), edit.input_node(cell.body)
    rank = len(work.source.shape(source))
    axes = sorted(d % rank for d in parts["dim"] or range(rank))
    scales = float(work.scale(source)), float(work.scale(cell.end))
    mean = cell.body.target is aten.mean.dim
    arguments = (axes, parts["keepdim"], mean, *scales, *work.bounds(cell))
    return work.call(cell, s8.sum_s8.default, work.value(source), *arguments)


POOL = Rule("pool", _pool)
REDUCE = Rule("reduce", _reduce)
