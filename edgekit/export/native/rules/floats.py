"""Floats, integers and truth values one by one or over dimensions: what islands and preprocessing are made of.

A call is computed in the type of its result, as torch does, comparisons in that of their operands together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from edgekit.export.native import float_words
from edgekit.export.native.attributes import Attributes
from edgekit.export.native.build import ELEMENTS, Builder
from edgekit.export.native.specialise import tensor_of
from edgekit.export.native.view import Element, View, merged
from edgekit.graph import edit

aten = torch.ops.aten
Rule = Callable[[Builder, fx.Node], View]
WHOLE = (torch.int64, torch.int32)


def operand(builder: Builder, argument: Any, dtype: torch.dtype) -> View:
    """A tensor or number in this type."""
    if builder.fixed.is_constant(argument):
        return builder.constant(tensor_of(builder.fixed.argument(argument)).to(dtype))
    return converted(builder, builder.view(argument), ELEMENTS[dtype])


def converted(builder: Builder, x: View, element: Element) -> View:
    """A tensor in another type."""
    if x.element is element:
        return x
    return pointwise(builder, float_words.Cast(), [x], x.sizes, element)


def pointwise(
    builder: Builder, attributes: Attributes, inputs: Sequence[View], sizes: Sequence[int], element: Element
) -> View:
    """A new tensor that is computed value by value from others, which are broadcast."""
    out = builder.fresh(sizes, element)
    *ready, last = merged([*(x.expanded(out.sizes) for x in inputs), out], out.order)
    builder.emit(attributes, ready, last)
    return out


def _like(builder: Builder, node: fx.Node, attributes: Attributes, inputs: Sequence[View]) -> View:
    value: Tensor = builder.fixed.values[node]
    return pointwise(builder, attributes, inputs, tuple(value.shape), ELEMENTS[value.dtype])


def _dtype(builder: Builder, node: fx.Node) -> torch.dtype:
    dtype: torch.dtype = builder.fixed.values[node].dtype
    return dtype


def _binary(name: str) -> Rule:
    def rule(builder: Builder, node: fx.Node) -> View:
        parts, dtype = edit.arguments(node), _dtype(builder, node)
        a, b = (operand(builder, parts[key], dtype) for key in ("self", "other"))
        if parts.get("alpha", 1) != 1:
            alpha = operand(builder, parts["alpha"], dtype)
            b = pointwise(builder, float_words.Binary.of("mul"), [b, alpha], b.sizes, b.element)
        return _like(builder, node, float_words.Binary.of(name), [a, b])

    return rule


def _reversed_difference(builder: Builder, node: fx.Node) -> View:
    """``rsub``: other - alpha * self."""
    parts, dtype = edit.arguments(node), _dtype(builder, node)
    a, b = (operand(builder, parts[key], dtype) for key in ("self", "other"))
    if parts["alpha"] != 1:
        alpha = operand(builder, parts["alpha"], dtype)
        a = pointwise(builder, float_words.Binary.of("mul"), [a, alpha], a.sizes, a.element)
    return _like(builder, node, float_words.Binary.of("sub"), [b, a])


def _compare(name: str) -> Rule:
    def rule(builder: Builder, node: fx.Node) -> View:
        parts = edit.arguments(node)
        dtype = compared(builder, node)
        operands = [operand(builder, parts[key], dtype) for key in ("self", "other")]
        return _like(builder, node, float_words.Compare.of(name), operands)

    return rule


def compared(builder: Builder, node: fx.Node) -> torch.dtype:
    """The type in which a comparison takes place."""
    parts = edit.arguments(node)
    return torch.result_type(*(builder.fixed.argument(parts[key]) for key in ("self", "other")))


def _logic(name: str) -> Rule:
    """On truth values; the largest of two is `or`, the least `and`."""

    def rule(builder: Builder, node: fx.Node) -> View:
        parts = edit.arguments(node)
        operands = [operand(builder, parts[key], torch.bool) for key in ("self", "other")]
        attributes = float_words.Compare.of("ne") if name == "ne" else float_words.Binary.of(name)
        return _like(builder, node, attributes, operands)

    return rule


def _negated(builder: Builder, node: fx.Node) -> View:
    x = operand(builder, edit.input_node(node), torch.bool)
    return _like(builder, node, float_words.Compare.of("eq"), [x, builder.constant(torch.tensor(False))])


def _is_nan(builder: Builder, node: fx.Node) -> View:
    x = builder.view(edit.input_node(node))
    return _like(builder, node, float_words.Compare.of("ne"), [x, x])


def _against_infinity(name: str) -> Rule:
    def rule(builder: Builder, node: fx.Node) -> View:
        x = operand(builder, edit.input_node(node), torch.float32)
        size = pointwise(builder, float_words.Unary.of("abs"), [x], x.sizes, x.element)
        return _like(builder, node, float_words.Compare.of(name), [size, builder.constant(torch.tensor(math.inf))])

    return rule


def _unary(name: str) -> Rule:
    def rule(builder: Builder, node: fx.Node) -> View:
        x = operand(builder, edit.input_node(node), torch.float32)
        return _like(builder, node, float_words.Unary.of(name), [x])

    return rule


def _gelu(builder: Builder, node: fx.Node) -> View:
    name = "gelu_tanh" if edit.arguments(node)["approximate"] == "tanh" else "gelu"
    return _unary(name)(builder, node)


def _times_itself(builder: Builder, node: fx.Node) -> View:
    x = operand(builder, edit.input_node(node), _dtype(builder, node))
    return _like(builder, node, float_words.Binary.of("mul"), [x, x])


def _power(builder: Builder, node: fx.Node) -> View:
    """As torch: a few exponents are products or roots."""
    parts = edit.arguments(node)
    exponent = builder.fixed.argument(parts["exponent"])
    x = operand(builder, parts["self"], torch.float32)
    names = {0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}
    multiply = float_words.Binary.of("mul")
    if not isinstance(exponent, Tensor) and exponent in names:
        return _like(builder, node, float_words.Unary.of(names[exponent]), [x])
    if not isinstance(exponent, Tensor) and exponent in (2, 3, -2):
        square = pointwise(builder, multiply, [x, x], x.sizes, x.element)
        if exponent == 2:
            return square
        if exponent == 3:
            return _like(builder, node, multiply, [square, x])
        return _like(builder, node, float_words.Unary.of("reciprocal"), [square])
    y = operand(builder, parts["exponent"], torch.float32)
    return _like(builder, node, float_words.Binary.of("pow"), [x, y])


def _between(builder: Builder, node: fx.Node) -> View:
    """``clamp`` and its relatives: numbers or tensors, one of them may be left out."""
    parts, dtype = edit.arguments(node), _dtype(builder, node)
    result = operand(builder, edit.input_node(node), dtype)
    for key, name in (("min", "max"), ("min_val", "max"), ("max", "min"), ("max_val", "min")):
        if parts.get(key) is not None:
            result = _like(builder, node, float_words.Binary.of(name), [result, operand(builder, parts[key], dtype)])
    return result


def _where(builder: Builder, node: fx.Node) -> View:
    parts, dtype = edit.arguments(node), _dtype(builder, node)
    condition = operand(builder, parts["condition"], torch.bool)
    operands = [operand(builder, parts[key], dtype) for key in ("self", "other")]
    return _like(builder, node, float_words.Select(), [condition, *operands])


def _filled(builder: Builder, node: fx.Node) -> View:
    """``masked_fill``."""
    parts, dtype = edit.arguments(node), _dtype(builder, node)
    mask = operand(builder, parts["mask"], torch.bool)
    operands = [operand(builder, parts[key], dtype) for key in ("value", "self")]
    return _like(builder, node, float_words.Select(), [mask, *operands])


def _cast(builder: Builder, node: fx.Node) -> View:
    return converted(builder, builder.view(edit.input_node(node)), ELEMENTS[_dtype(builder, node)])


def _reduction(name: str, inner: torch.dtype | None = None) -> Rule:
    """Over the dimensions that are named, or all; in the type of the result, or in one of its own."""

    def rule(builder: Builder, node: fx.Node) -> View:
        parts, value = edit.arguments(node), builder.fixed.values[node]
        source: Tensor = builder.fixed.values[edit.input_node(node)]
        own = source.dtype if name.startswith("arg") else inner or value.dtype
        x = operand(builder, edit.input_node(node), own)
        dims: Any = builder.fixed.argument(parts.get("dim"))
        dims = [dims] if isinstance(dims, int) else dims
        axes = [d % len(x.sizes) for d in dims] if dims else list(range(len(x.sizes)))
        out = builder.fresh(tuple(value.shape), ELEMENTS[value.dtype])
        builder.emit(float_words.Reduce.of(name, sum(1 << axis for axis in axes)), [once(builder, x)], out)
        return out

    return rule


def once(builder: Builder, x: View) -> View:
    """A tensor whose elements lie in places of their own."""
    repeats = any(step == 0 and size > 1 for size, step in zip(x.sizes, x.steps, strict=True))
    return builder.ordered(x) if repeats else x


RULES: dict[object, Rule] = {
    **dict.fromkeys((aten.add.Tensor, aten.add.Scalar), _binary("add")),
    **dict.fromkeys((aten.sub.Tensor, aten.sub.Scalar), _binary("sub")),
    **dict.fromkeys((aten.rsub.Tensor, aten.rsub.Scalar), _reversed_difference),
    **dict.fromkeys((aten.mul.Tensor, aten.mul.Scalar), _binary("mul")),
    **dict.fromkeys((aten.div.Tensor, aten.div.Scalar), _binary("div")),
    **dict.fromkeys((aten.maximum.default, aten.max.other), _binary("max")),
    **dict.fromkeys((aten.minimum.default, aten.min.other), _binary("min")),
    **dict.fromkeys((aten.pow.Tensor_Scalar, aten.pow.Tensor_Tensor, aten.pow.Scalar), _power),
    **{
        overload: _compare(name)
        for name in float_words.COMPARE
        for overload in (getattr(aten, name).Tensor, getattr(aten, name).Scalar)
    },
    **dict.fromkeys((aten.logical_and.default, aten.bitwise_and.Tensor), _logic("min")),
    **dict.fromkeys((aten.logical_or.default, aten.bitwise_or.Tensor), _logic("max")),
    **dict.fromkeys((aten.logical_xor.default, aten.bitwise_xor.Tensor), _logic("ne")),
    **dict.fromkeys((aten.logical_not.default, aten.bitwise_not.default), _negated),
    aten.isnan.default: _is_nan,
    aten.isinf.default: _against_infinity("eq"),
    aten.isfinite.default: _against_infinity("lt"),
    **{getattr(aten, name).default: _unary(name) for name in float_words.UNARY if name not in ("gelu", "gelu_tanh")},
    aten.gelu.default: _gelu,
    aten.square.default: _times_itself,
    **dict.fromkeys(
        (aten.clamp.default, aten.clamp.Tensor, aten.clamp_min.default, aten.clamp_min.Tensor, aten.clamp_max.default,
         aten.clamp_max.Tensor, aten.hardtanh.default), _between,
    ),
    **dict.fromkeys((aten.where.self, aten.where.ScalarOther, aten.where.ScalarSelf, aten.where.Scalar), _where),
    **dict.fromkeys((aten.masked_fill.Scalar, aten.masked_fill.Tensor), _filled),
    **dict.fromkeys(
        (aten.to.dtype, aten.to.dtype_layout, aten.to.device, aten.to.other, aten._to_copy.default,
         aten.type_as.default), _cast,
    ),
    **dict.fromkeys((aten.sum.dim_IntList, aten.sum.default), _reduction("sum")),
    **dict.fromkeys((aten.mean.dim, aten.mean.default), _reduction("mean")),
    **dict.fromkeys((aten.amax.default, aten.max.default), _reduction("max")),
    **dict.fromkeys((aten.amin.default, aten.min.default), _reduction("min")),
    aten.argmax.default: _reduction("argmax"),
    aten.argmin.default: _reduction("argmin"),
    **dict.fromkeys((aten.any.default, aten.any.dim, aten.any.dims), _reduction("max", torch.bool)),
    **dict.fromkeys((aten.all.default, aten.all.dim, aten.all.dims), _reduction("min", torch.bool)),
}  # fmt: skip

_REALS = frozenset(
    (aten.div.Tensor, aten.div.Scalar, aten.pow.Tensor_Scalar, aten.pow.Tensor_Tensor, aten.pow.Scalar,
     aten.gelu.default, aten.mean.dim, aten.mean.default, aten.softplus.default,
     *(getattr(aten, name).default for name in float_words.UNARY if name != "gelu_tanh")),
)  # fmt: skip
_NUMBERS = frozenset(
    (aten.add.Tensor, aten.add.Scalar, aten.sub.Tensor, aten.sub.Scalar, aten.rsub.Tensor, aten.rsub.Scalar,
     aten.mul.Tensor, aten.mul.Scalar, aten.square.default, aten.sum.dim_IntList, aten.sum.default),
)  # fmt: skip
_TRUTHS = frozenset(
    (aten.bitwise_and.Tensor, aten.bitwise_or.Tensor, aten.bitwise_xor.Tensor, aten.bitwise_not.default)
)
_ANY_TYPE = frozenset(target for target, rule in RULES.items() if rule in (_where, _filled, _cast))


def takes(builder: Builder, node: fx.Node) -> bool:
    """Whether a call with a rule is one of types that the words know."""
    value = builder.fixed.values[node]
    sources = [builder.fixed.values[source] for source in node.all_input_nodes]
    tensors = [t for t in (value, *sources) if isinstance(t, Tensor)]
    if not isinstance(value, Tensor) or any(t.dtype not in ELEMENTS for t in tensors):
        return False
    if node.target is aten.softplus.default:
        return (edit.arguments(node)["beta"], edit.arguments(node)["threshold"]) == (1, 20)
    if node.target in _REALS:
        return value.dtype is torch.float32
    if node.target in _NUMBERS:
        return value.dtype in (torch.float32, *WHOLE)
    if node.target in _TRUTHS:
        return value.dtype is torch.bool
    known = (torch.float32, torch.bool, *WHOLE)
    return node.target in _ANY_TYPE or all(t.dtype in known for t in tensors) or _is_compare(node)


def _is_compare(node: fx.Node) -> bool:
    return value_name(node) in float_words.COMPARE


def value_name(node: fx.Node) -> str:
    """``eq`` for ``aten.eq.Tensor``."""
    return edit.operator_name(node).partition(".")[2]
