"""Activation functions written out, as the one operator they are.

Sources: GELU, Hendrycks and Gimpel 2016 (arXiv:1606.08415); SiLU, Elfwing et al. 2018; hard-swish, Howard et al. 2019
(arXiv:1905.02244); Mish, Misra 2019 (arXiv:1908.08681).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import fx

from edgekit.graph import edit
from edgekit.graph.canonical.formula import argument_of, near, number, product, shifted
from edgekit.graph.canonical.rule import Rule, always, become
from edgekit.graph.graph import Graph

aten = torch.ops.aten
Reader = Callable[[fx.Node], fx.Node | None]  # what the function is of, or None where it is another formula


def _gated(node: fx.Node, scale: float) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Both ways to read ``scale * x * gate`` as an input and its gate."""
    whole = product(node)
    if len(whole.factors) == 2 and near(whole.number, scale):
        first, second = whole.factors
        yield first, second
        yield second, first


def _silu(node: fx.Node) -> fx.Node | None:
    return next((x for x, gate in _gated(node, 1.0) if argument_of(gate, aten.sigmoid.default) is x), None)


def _mish(node: fx.Node) -> fx.Node | None:
    for x, gate in _gated(node, 1.0):
        inner = argument_of(gate, aten.tanh.default)
        if argument_of(inner, aten.softplus.default) is x and inner is not None and len(inner.args) == 1:
            return x
    return None


def _hardswish(node: fx.Node) -> fx.Node | None:
    for x, gate in _gated(node, 1.0):
        if argument_of(gate, aten.hardsigmoid.default) is x:
            return x
    return next((x for x, gate in _gated(node, 1.0 / 6.0) if _ramp(gate) is x), None)


def _hardsigmoid(node: fx.Node) -> fx.Node | None:
    whole = product(node)
    return _ramp(whole.factors[0]) if len(whole.factors) == 1 and near(whole.number, 1.0 / 6.0) else None


def _ramp(node: fx.Node) -> fx.Node | None:
    """The x of ``clamp(x + 3, 0, 6)``."""
    sum_of = shifted(argument_of(node, aten.clamp.default))
    if sum_of is None or sum_of[0] != 3.0:
        return None
    parts = edit.arguments(node)
    return sum_of[1] if (number(parts["min"]), number(parts["max"])) == (0.0, 6.0) else None


def _gelu(node: fx.Node) -> fx.Node | None:
    """``x / 2 * (1 + erf(x / sqrt(2)))``."""
    for x, gate in _gated(node, 0.5):
        inner = argument_of(_one_plus(gate), aten.erf.default)
        if inner is not None and product(inner).factors == [x] and near(product(inner).number, math.sqrt(0.5)):
            return x
    return None


def _gelu_tanh(node: fx.Node) -> fx.Node | None:
    """``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))``."""
    for x, gate in _gated(node, 0.5):
        inner = argument_of(_one_plus(gate), aten.tanh.default)
        if inner is not None and _is_cubic(inner, x):
            return x
    return None


def _one_plus(node: fx.Node) -> fx.Node | None:
    found = shifted(node)
    return found[1] if found is not None and found[0] == 1.0 else None


def _is_cubic(node: fx.Node, x: fx.Node) -> bool:
    """Whether ``node`` is ``sqrt(2 / pi) * (x + 0.044715 * x**3)``, or that with x taken out of the sum."""
    whole = product(node)
    if not near(whole.number, math.sqrt(2.0 / math.pi)):
        return False
    if len(whole.factors) == 1:
        terms = whole.factors[0].args if edit.is_call(whole.factors[0], aten.add.Tensor) else ()
        others = [term for term in terms if isinstance(term, fx.Node) and term is not x]
        return len(terms) == 2 and len(others) == 1 and _is_power(others[0], x, 3)
    sums = [found for factor in whole.rest(x) if (found := shifted(factor)) is not None]
    return len(whole.factors) == 2 and len(sums) == 1 and sums[0][0] == 1.0 and _is_power(sums[0][1], x, 2)


def _is_power(node: fx.Node, x: fx.Node, exponent: int) -> bool:
    found = product(node)
    return found.factors == [x] * exponent and near(found.number, 0.044715)


def _softplus(node: fx.Node) -> fx.Node | None:
    """``log(1 + exp(x))``; the operator does not overflow where the formula does."""
    if edit.is_call(node, aten.log1p.default):
        return argument_of(edit.input_node(node), aten.exp.default)
    if edit.is_call(node, aten.log.default):
        return argument_of(_one_plus(edit.input_node(node)), aten.exp.default)
    return None


def _rule(name: str, read: Reader, target: Callable[..., object], kwargs: dict[str, str] | None = None) -> Rule:
    def rewrite(_: Graph, node: fx.Node) -> None:
        x = read(node)
        become(node, target, x)
        node.kwargs = dict(kwargs or {})

    return Rule(name, lambda node: _is_float(node) and read(node) is not None, always, rewrite)


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return (
        isinstance(node.target, torch._ops.OpOverload) and isinstance(value, torch.Tensor) and value.is_floating_point()
    )


RULES = (
    _rule("softplus", _softplus, aten.softplus.default),
    _rule("mish", _mish, aten.mish.default),
    _rule("silu", _silu, aten.silu.default),
    _rule("hardswish", _hardswish, aten.hardswish.default),
    _rule("hardsigmoid", _hardsigmoid, aten.hardsigmoid.default),
    _rule("gelu", _gelu, aten.gelu.default),
    _rule("gelu by tanh", _gelu_tanh, aten.gelu.default, {"approximate": "tanh"}),
)
