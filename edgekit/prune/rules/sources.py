"""Tensors out of nothing: as long as what they meet."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgekit.graph import edit
from edgekit.prune.analysis import Analysis, Dim, Dims, lengths

aten = torch.ops.aten


def _filled(state: Analysis, node: fx.Node) -> Dims:
    given = edit.arguments(node)["size"]
    dims: tuple[Dim, ...] = tuple(
        state.atoms.new(size) if isinstance(size, int) and size > 1 else None for size in given
    )
    state.edit(node, "size", lambda kept: lengths(kept, given, dims))
    return dims


def _numbers(_: Analysis, node: fx.Node) -> Dims:
    """A place's own number: none can go without changing the others'."""
    rank: int = node.meta["val"].dim()
    return (None,) * rank


RULES: dict[Any, Any] = {
    **dict.fromkeys(
        (aten.zeros.default, aten.ones.default, aten.full.default, aten.empty.memory_format, aten.rand.default,
         aten.randn.default, aten.new_zeros.default, aten.new_ones.default, aten.new_full.default,
         aten.new_empty.default),
        _filled,
    ),
    **dict.fromkeys(
        (aten.arange.default, aten.arange.start, aten.arange.start_step, aten.linspace.default, aten.eye.default,
         aten.scalar_tensor.default),
        _numbers,
    ),
}  # fmt: skip
