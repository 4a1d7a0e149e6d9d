"""Softmax and the norms: a row at a time."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from edgekit.fuse.rules.rule import Rule
from edgekit.fuse.work import Work
from edgekit.graph import edit
from edgekit.graph.patterns import Cell
from edgekit.ops import numerics

aten, s8 = torch.ops.aten, torch.ops.edgekit


def _softmax(work: Work, cell: Cell) -> fx.Node:
    source, mask = edit.input_node(cell.body), edit.arguments(cell.body).get("mask")
    table = work.stored(f"{cell.body.name}.table", numerics.softmax_table(work.scale(source)))
    arguments = (work.value(source), table, float(work.scale(cell.end)))
    return work.call(cell, s8.softmax_s8.default, *arguments, None if mask is None else work.plain(mask))


def _norm(work: Work, cell: Cell) -> fx.Node:
    parts, source = edit.arguments(cell.body), edit.input_node(cell.body)
    x, input_scale, scale = work.value(source), float(work.scale(source)), work.scale(cell.end)
    if cell.body.target is s8.l2_norm.default:
        return work.call(cell, s8.l2_norm_s8.default, x, input_scale, float(scale), parts["eps"])
    shape = parts.get("normalized_shape") or [work.source.shape(source)[1]]
    gain = work.stored(f"{cell.body.name}.gain", _vector(work, parts["weight"], shape, 1.0) / scale)
    if cell.body.target is aten.rms_norm.default:
        eps = torch.finfo(torch.float32).eps if parts["eps"] is None else parts["eps"]
        return work.call(cell, s8.rms_norm_s8.default, x, gain, input_scale, eps)
    offset = work.stored(f"{cell.body.name}.offset", _vector(work, parts["bias"], shape, 0.0) / scale)
    if cell.body.target is aten.layer_norm.default:
        return work.call(cell, s8.layer_norm_s8.default, x, gain, offset, input_scale, parts["eps"])
    groups = parts.get("num_groups") or shape[0]
    return work.call(cell, s8.group_norm_s8.default, x, groups, gain, offset, input_scale, parts["eps"])


def _vector(work: Work, node: fx.Node | None, shape: list[int], default: float) -> Tensor:
    return torch.full(shape, default) if node is None else work.tensor(node)


SOFTMAX = Rule("softmax", _softmax)
NORM = Rule("norm", _norm)
