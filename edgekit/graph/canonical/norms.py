"""RMS norm and L2 normalisation written out, as the one operator they are, over the last dimension.

Source of RMS norm: Zhang and Sennrich 2019 (arXiv:1910.07467).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import fx

from edgekit.graph import edit
from edgekit.graph.canonical.formula import argument_of, number, shifted
from edgekit.graph.canonical.rule import Rule, always, become, calls_of
from edgekit.graph.graph import Graph, known_size

aten = torch.ops.aten


class _Norm(NamedTuple):
    """What is normalised, what keeps the divisor from 0, and along which axis."""

    x: fx.Node
    eps: float
    axis: int = -1


def _quotient(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """The two tensors of a division."""
    if not edit.is_call(node, aten.div.Tensor) or node.kwargs:
        return None
    above, below = node.args
    return (above, below) if isinstance(above, fx.Node) and isinstance(below, fx.Node) else None


def _over_last(node: fx.Node, dims: Any, keepdim: Any) -> bool:
    last: int = edit.input_node(node).meta["val"].dim() - 1
    return _axis(node, dims, keepdim) == last


def _axis(node: fx.Node, dims: Any, keepdim: Any) -> int | None:
    """The one axis that a reduction keeps as one value."""
    rank: int = edit.input_node(node).meta["val"].dim()
    listed = [dims] if isinstance(dims, int) else list(dims or [])
    return listed[0] % rank if keepdim and len(listed) == 1 else None


def _squared(node: fx.Node | None, *reductions: object) -> fx.Node | None:
    """The x of a sum or mean of its squares over the last dimension."""
    if node is None or not edit.is_call(node, *reductions):
        return None
    parts = edit.arguments(node)
    power = edit.input_node(node)
    if parts["dtype"] is not None or not _over_last(node, parts["dim"], parts["keepdim"]):
        return None
    return edit.input_node(power) if edit.is_call(power, aten.pow.Tensor_Scalar) and power.args[1] == 2 else None


def _mean_square(node: fx.Node | None) -> _Norm | None:
    """``mean(x**2) + eps``."""
    found = shifted(node)
    eps, mean = found if found is not None else (0.0, node)
    x = _squared(mean, aten.mean.dim)
    return None if x is None else _Norm(x, eps)


def _rms(node: fx.Node) -> _Norm | None:
    """``x * rsqrt(mean(x**2) + eps)``, ``x / sqrt(...)`` or ``x * (1 / sqrt(...))``."""
    parts = _quotient(node)
    if parts is not None:
        norm = _mean_square(argument_of(parts[1], aten.sqrt.default))
        return norm if norm is not None and norm.x is parts[0] else None
    if not edit.is_call(node, aten.mul.Tensor):
        return None
    for x, factor in (node.args, node.args[::-1]):
        root = argument_of(argument_of(factor, aten.reciprocal.default), aten.sqrt.default)
        norm = _mean_square(argument_of(factor, aten.rsqrt.default) or root)
        if norm is not None and norm.x is x:
            return norm
    return None


def _is_rms(node: fx.Node) -> bool:
    return _rms(node) is not None


def _dynamic(node: fx.Node) -> str:
    return "" if known_size(node.meta["val"].shape[-1]) is not None else "it normalises a dynamic dimension"


def _to_rms(_: Graph, node: fx.Node) -> None:
    norm = _rms(node)
    assert norm is not None
    become(node, aten.rms_norm.default, norm.x, [int(node.meta["val"].shape[-1])], None, norm.eps)


def _gain(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """The RMS norm and the gain of ``norm * gain``."""
    if not edit.is_call(node, aten.mul.Tensor):
        return None
    for norm, gain in (node.args, node.args[::-1]):
        if isinstance(norm, fx.Node) and isinstance(gain, fx.Node) and edit.is_call(norm, aten.rms_norm.default):
            return norm, gain
    return None


def _has_gain(node: fx.Node) -> bool:
    return _gain(node) is not None


def _no_gain(node: fx.Node) -> str:
    norm, gain = _gain(node)  # type: ignore[misc]
    parts, value = edit.arguments(norm), gain.meta["val"]
    if parts["weight"] is not None or len(norm.users) > 1:
        return "the norm has a gain of its own, or other readers"
    if [known_size(size) for size in value.shape] != list(parts["normalized_shape"]):
        return "the factor is no gain"
    return "" if value.dtype == node.meta["val"].dtype == norm.meta["val"].dtype else "the types differ"


def _to_gain(_: Graph, node: fx.Node) -> None:
    norm, gain = _gain(node)  # type: ignore[misc]
    parts = edit.arguments(norm)
    become(node, aten.rms_norm.default, parts["input"], parts["normalized_shape"], gain, parts["eps"])


def _without_eps(node: fx.Node) -> str:
    return "" if edit.arguments(node)["eps"] is None else "it has one"


def _to_eps(_: Graph, node: fx.Node) -> None:
    edit.set_argument(node, "eps", torch.finfo(edit.input_node(node).meta["val"].dtype).eps)


def l2(node: fx.Node) -> _Norm | None:
    """``x / max(||x||, eps)``, the divisor spread over x or not; along any one axis."""
    parts = _quotient(node)
    if parts is None:
        return None
    x, below = parts
    below = argument_of(below, aten.expand.default, aten.expand_as.default) or below
    eps = 0.0
    if edit.is_call(below, aten.clamp.default):
        bounds = edit.arguments(below)
        low = number(bounds["min"])
        if low is None or bounds["max"] is not None:
            return None
        eps, below = low, edit.input_node(below)
    axis = _axis_of_length(below, x)
    return None if axis is None else _Norm(x, eps, axis)


def _axis_of_length(node: fx.Node, x: fx.Node) -> int | None:
    """The axis along which ``node`` is the euclidean length of x."""
    if edit.is_call(node, aten.linalg_vector_norm.default, aten.norm.ScalarOpt_dim) and edit.input_node(node) is x:
        parts = edit.arguments(node)
        order = parts["ord"] if node.target is aten.linalg_vector_norm.default else parts["p"]
        plain = order == 2 and parts.get("dtype") is None
        return _axis(node, parts["dim"], parts["keepdim"]) if plain else None
    squares = argument_of(node, aten.sqrt.default)
    return x.meta["val"].dim() - 1 if _squared(squares, aten.sum.dim_IntList) is x else None


def _is_l2(node: fx.Node) -> bool:
    norm = l2(node)
    return norm is not None and norm.axis == node.meta["val"].dim() - 1


def _to_l2(_: Graph, node: fx.Node) -> None:
    norm = l2(node)
    assert norm is not None
    become(node, torch.ops.edgekit.l2_norm.default, norm.x, norm.eps)


RULES = (
    Rule("rms norm", _is_rms, _dynamic, _to_rms),
    Rule("gain of an rms norm", _has_gain, _no_gain, _to_gain),
    Rule("epsilon of an rms norm", calls_of(aten.rms_norm.default), _without_eps, _to_eps),
    Rule("l2 norm", _is_l2, always, _to_l2),
)
