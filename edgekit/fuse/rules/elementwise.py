"""Sums, products and functions of single values."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, fx
from torch.nn import functional

from edgekit.fuse.rules.rule import Rule
from edgekit.fuse.work import Work
from edgekit.graph import edit, kinds, patterns
from edgekit.graph.patterns import Cell
from edgekit.ops import numerics

aten, s8 = torch.ops.aten, torch.ops.edgekit


def _join(work: Work, cell: Cell) -> fx.Node:
    operands, scale = kinds.operands(cell.body), work.scale(cell.end)
    first, second = (numerics.add_ratio(work.scale(operand), scale) for operand in operands)
    second = -second if cell.body.target is aten.sub.Tensor else second
    values = [work.value(operand) for operand in operands]
    return work.call(cell, s8.add_s8.default, *values, first, second, *work.bounds(cell))


def _multiply(work: Work, cell: Cell) -> fx.Node:
    first, second = kinds.operands(cell.body)
    multiplier = numerics.product_multiplier(work.scale(first), work.scale(second), work.scale(cell.end))
    values = (work.value(first), work.value(second))
    return work.call(cell, s8.mul_s8.default, *values, multiplier, *work.bounds(cell))


def _unary(work: Work, cell: Cell) -> fx.Node:
    source = edit.input_node(cell.body)
    table = numerics.table(lambda x: patterns.apply_unary(cell.body, x), work.scale(source), work.scale(cell.end))
    return work.call(cell, s8.lut_s8.default, work.value(source), work.stored(f"{cell.body.name}.table", table))


def _prelu(work: Work, cell: Cell) -> fx.Node:
    """One table for each slope, along axis 1."""
    source, slopes = edit.input_node(cell.body), work.tensor(edit.arguments(cell.body)["weight"])
    scales = work.scale(source), work.scale(cell.end)
    tables = [numerics.table(partial(_leaky, slope), *scales) for slope in slopes]
    stacked = torch.stack(tables) if len(tables) > 1 else tables[0]
    axis = 1 if len(tables) > 1 else None
    return work.call(cell, s8.lut_s8.default, work.value(source), work.stored(f"{cell.body.name}.table", stacked), axis)


def _leaky(slope: Tensor, x: Tensor) -> Tensor:
    return functional.prelu(x, slope.double().reshape(1))


JOIN = Rule("join", _join)
MULTIPLY = Rule("multiply", _multiply)
UNARY = Rule("unary", _unary)
PRELU = Rule("prelu", _prelu)
