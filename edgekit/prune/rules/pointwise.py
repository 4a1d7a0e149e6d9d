"""Operators of one element each: what they compute of an index needs that index of every operand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from edgekit.graph import edit
from edgekit.prune.analysis import Analysis, Dim, Dims, Slot

aten, own = torch.ops.aten, torch.ops.edgekit

UNTAGGED = (  # of one element each, though torch does not tag them so
    aten.hardswish.default, aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default,
    aten.feature_alpha_dropout.default, aten.detach.default, aten.contiguous.default, aten.log_sigmoid.default,
    aten.to.dtype, aten.to.device, aten.to.dtype_layout, aten.to.other, aten._to_copy.default, aten.type_as.default,
    aten.alias.default, aten.lift_fresh_copy.default, aten.masked_fill.Tensor, aten.rsub.Tensor,
    aten.where.ScalarOther, aten.where.ScalarSelf, aten.where.Scalar, aten.zeros_like.default, aten.ones_like.default,
    aten.full_like.default, aten.empty_like.default, aten.rand_like.default, aten.randn_like.default,
)  # fmt: skip


def is_pointwise(target: object) -> bool:
    """Whether an operator computes each element from the same element of its operands."""
    return isinstance(target, torch._ops.OpOverload) and (target in UNTAGGED or torch.Tag.pointwise in target.tags)


def elementwise(state: Analysis, node: fx.Node) -> Dims:
    """Dimensions are aligned from the last; one of size 1 is spread over the others and stays."""
    operands = [n for n in node.all_input_nodes if isinstance(n.meta["val"], Tensor)]
    return broadcast(state, node, [(state.dims[n], state.sizes(n)) for n in operands], len(state.sizes(node)))


def broadcast(state: Analysis, node: fx.Node, operands: list[tuple[Dims, tuple[int | str, ...]]], rank: int) -> Dims:
    """Tie operands, each its dimensions and sizes, that are aligned from the last to ``rank`` dimensions."""
    result: list[Dim] = []
    for d in range(-rank, 0):
        here = [(dims[d], sizes[d]) for dims, sizes in operands if len(dims) >= -d]
        wide = [dim for dim, size in here if size != 1] or [dim for dim, _ in here]
        if len(wide) < len(here):
            spread = [dim for dim, size in here if size == 1]
            state.freeze((dim for dim in spread if not isinstance(dim, Slot)), f"{edit.describe(node)} spreads it")
            for dim in spread:
                state.fix(dim)
        for other in wide[1:]:
            state.tie(wide[0], other, f"{node.name} joins it with a dimension of fixed size")
        result.append(next((dim for dim in wide if dim is not None), None))
    return tuple(result)


def _prelu(state: Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    source, (slope,) = state.dims[parts["self"]], state.dims[parts["weight"]]
    if state.sizes(parts["weight"]) == (1,):
        state.fix(slope)
    else:
        state.tie(source[1] if len(source) > 1 else None, slope)
    return source


def _glu(state: Analysis, node: fx.Node) -> Dims:
    """The first half of a dimension times a function of the second."""
    parts = edit.arguments(node)
    source = list(state.dims[parts["self"]])
    atoms = state.atoms_of(source[parts["dim"]])
    if atoms is not None:
        first, second = atoms[: len(atoms) // 2], atoms[len(atoms) // 2 :]
        state.tie(first, second)
        source[parts["dim"]] = first
    return tuple(source)


def _fake_quantize(state: Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    source, scale = state.dims[parts["x"]], state.dims[parts["scale"]]
    if parts["axis"] is not None:
        state.tie(source[parts["axis"]], scale[0])
    return source


RULES: dict[Any, Any] = {
    aten.prelu.default: _prelu,
    aten.glu.default: _glu,
    own.fake_quantize.default: _fake_quantize,
}
