"""Operators that move bytes: what they do to floats they do to int8."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgekit.fuse.rules import volumes
from edgekit.fuse.rules.pools import as_rows, pair
from edgekit.fuse.rules.rule import Rule, same_scale
from edgekit.fuse.work import Work
from edgekit.graph import edit, patterns
from edgekit.graph.patterns import Cell
from edgekit.ops import numerics

aten, s8 = torch.ops.aten, torch.ops.edgekit
_UNSIGNED_ONLY = (
    aten.upsample_nearest1d.default, aten.upsample_nearest2d.default, aten.upsample_nearest1d.vec,
    aten.upsample_nearest2d.vec, aten._upsample_nearest_exact1d.vec, aten._upsample_nearest_exact2d.vec,
    aten.upsample_nearest3d.vec,
)  # fmt: skip  # torch has these for uint8, not for int8; the bits are the same
_PADS = (aten.constant_pad_nd.default, aten.pad.default)


def _move(work: Work, cell: Cell) -> fx.Node:
    if cell.body.target in (aten.max_pool2d.default, aten.max_pool1d.default):
        return _max_pool(work, cell)
    if cell.body.target is aten.max_pool3d.default:
        return volumes.maximum(work, cell)
    if edit.arguments(cell.body).get("mode", "constant") == "constant" and cell.body.target in _PADS:
        return _pad(work, cell)
    if cell.body.target in _UNSIGNED_ONLY:
        source = work.step(aten.view.dtype, work.value(edit.input_node(cell.body)), torch.uint8)
        moved = work.step(edit.overload(cell.body), source, *fx.map_arg(cell.body.args[1:], work.plain))
        return work.call(cell, aten.view.dtype, moved, torch.int8)
    return _as_it_is(work, cell)


def _as_it_is(work: Work, cell: Cell) -> fx.Node:
    def argument(node: fx.Node) -> fx.Node:
        return work.value(node) if patterns.bytes_of(node) in work.values else work.plain(node)

    args: Any = fx.map_arg(cell.body.args, argument)
    return work.call(cell, edit.overload(cell.body), *args)


def _max_pool(work: Work, cell: Cell) -> fx.Node:
    parts, body = edit.arguments(cell.body), cell.body
    kernel = pair(body, parts["kernel_size"], 1)
    stride = pair(body, parts["stride"], 1) if parts["stride"] else kernel
    geometry = (kernel, stride, pair(body, parts["padding"], 0), pair(body, parts["dilation"], 1), parts["ceil_mode"])
    return as_rows(work, cell, s8.max_pool_s8.default, work.value(edit.input_node(body)), *geometry)


def _pad(work: Work, cell: Cell) -> fx.Node:
    parts = edit.arguments(cell.body)
    real = torch.tensor(float(parts["value"] or 0))
    q = int(numerics.quantize(real, work.scale(cell.end)))
    return work.call(cell, aten.constant_pad_nd.default, work.value(edit.input_node(cell.body)), parts["pad"], q)


MOVE = Rule("move", _move, same_scale)
CONCAT = Rule("concat", _as_it_is, same_scale)
EMBEDDING = Rule("embedding", _as_it_is, same_scale)
