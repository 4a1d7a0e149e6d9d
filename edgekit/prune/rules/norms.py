"""Normalisation and other reductions: over what is kept. A pruned index has no part in a mean or a maximum."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgekit.graph import edit
from edgekit.prune.analysis import Analysis, Dim, Dims, count, lengths
from edgekit.prune.rules.pointwise import elementwise

aten, own = torch.ops.aten, torch.ops.edgekit


def _over_channels(state: Analysis, node: fx.Node) -> Dims:
    """Batch and instance norm: each channel has its own numbers."""
    parts = edit.arguments(node)
    source = state.dims[parts["input"]]
    for name in ("weight", "bias", "running_mean", "running_var"):
        if parts[name] is not None:
            state.tie(source[1], state.dims[parts[name]][0], f"{node.name} normalises a dimension of fixed size")
    return source


def _over_last(state: Analysis, node: fx.Node) -> Dims:
    """Layer and RMS norm."""
    parts = edit.arguments(node)
    source = state.dims[parts["input"]]
    shape = parts["normalized_shape"]
    last = source[len(source) - len(shape) :]
    for name in ("weight", "bias"):
        if parts.get(name) is not None:
            for dim, other in zip(last, state.dims[parts[name]], strict=True):
                state.tie(dim, other, f"{node.name} normalises a dimension of fixed size")
    state.edit(node, "normalized_shape", lambda kept: lengths(kept, shape, last))
    return source


def _group_norm(state: Analysis, node: fx.Node) -> Dims:
    """Whole groups go, or the same channels of every group."""
    parts = edit.arguments(node)
    source, groups = state.dims[parts["input"]], parts["num_groups"]
    channels = state.sizes(parts["input"])[1]
    assert isinstance(channels, int)
    for name in ("weight", "bias"):
        if parts[name] is not None:
            state.tie(source[1], state.dims[parts[name]][0], f"{node.name} normalises a dimension of fixed size")
    group, _ = state.factor(source[1], (groups, channels // groups))
    if group is not None:
        state.edit(node, "num_groups", count(group))
    return source


def _weight_norm(state: Analysis, node: fx.Node) -> Dims:
    """A weight of its direction and, for each index of one dimension, its length."""
    parts = edit.arguments(node)
    direction, d = state.dims[parts["v"]], parts["dim"]
    state.tie(direction[d], state.dims[parts["g"]][d])
    return direction


def _along(state: Analysis, node: fx.Node) -> Dims:
    """Softmax and the like: a result for every element."""
    return state.dims[edit.input_node(node)]


def _reduce(state: Analysis, node: fx.Node) -> Dims | list[Dims]:
    """Sums, means and extremes: of what is kept of the dimensions that go; a place among them would move."""
    parts, source = edit.arguments(node), state.dims[edit.input_node(node)]
    given = parts.get("dim")
    listed = [given] if isinstance(given, int) else given or range(len(source))
    gone = {d % len(source) for d in listed}
    result: list[Dim] = []
    for d, dim in enumerate(source):
        if d not in gone:
            result.append(dim)
        elif parts.get("keepdim"):
            result.append(None)
    if node.target in _PLACES:
        state.freeze((source[d] for d in gone), f"{edit.describe(node)} tells places in it")
        return [tuple(result)] * 2 if node.target in _PAIRS else tuple(result)
    return tuple(result)


_PAIRS = (aten.max.dim, aten.min.dim)
_PLACES = (*_PAIRS, aten.argmax.default, aten.argmin.default)
_REDUCTIONS = (
    aten.mean.dim, aten.mean.default, aten.sum.dim_IntList, aten.sum.default, aten.amax.default, aten.amin.default,
    aten.var.correction, aten.std.correction, aten.var.dim, aten.std.dim, aten.linalg_vector_norm.default,
    aten.norm.ScalarOpt_dim, aten.logsumexp.default, aten.any.dim, aten.all.dim, aten.prod.dim_int, *_PLACES,
)  # fmt: skip

RULES: dict[Any, Any] = {
    **dict.fromkeys((aten.batch_norm.default, aten.instance_norm.default), _over_channels),
    **dict.fromkeys((aten.layer_norm.default, aten.rms_norm.default), _over_last),
    aten.group_norm.default: _group_norm,
    aten._weight_norm.default: _weight_norm,
    **dict.fromkeys((aten.softmax.int, aten.log_softmax.int, own.l2_norm.default), _along),
    own.masked_softmax.default: elementwise,
    **dict.fromkeys(_REDUCTIONS, _reduce),
}
