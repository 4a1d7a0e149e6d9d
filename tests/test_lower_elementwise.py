"""Sums, products and functions of single values, each alone behind a linear."""

from __future__ import annotations

from collections.abc import Callable

import lowering
import pytest
import torch
from lowering import Case, Layers, Table
from torch import Tensor, nn
from torch.nn import functional

STORED = torch.randn(6, generator=torch.Generator().manual_seed(1))


def behind(operators: str, function: Callable[[Tensor, Tensor], Tensor], **options: float) -> Case:
    """A function of a linear's result and its input."""

    def net(layers: Layers, x: Tensor) -> Tensor:
        return function(layers["a"](x), x)

    return Case(net, f"linear_s8 {operators}", lambda: {"a": nn.Linear(6, 6)}, (7, 6), **options)


def slopes(count: int) -> Case:
    return Case(
        lambda layers, x: layers["p"](layers["a"](x)),
        "linear_s8 lut_s8",
        lambda: {"a": nn.Linear(6, 6), "p": nn.PReLU(count)},
        (7, 6),
    )


UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid, "tanh": torch.tanh, "gelu": functional.gelu, "silu": functional.silu,
    "hardswish": functional.hardswish, "elu": functional.elu, "leaky": lambda x: functional.leaky_relu(x, 11 / 48),
    "randomised leaky": functional.rrelu, "softplus": functional.softplus, "mish": functional.mish,
    "log of sigmoid": functional.logsigmoid, "erf": torch.erf, "sine": torch.sin, "arc tangent": torch.atan,
    "absolute": torch.abs, "negative": torch.neg, "square": torch.square, "third power": lambda x: x**3,
    "one minus": lambda x: 1 - x, "plus": lambda x: x + 0.3, "times": lambda x: x * 1.7, "by": lambda x: x / 3,
    "threshold": lambda x: functional.threshold(x, 0.1, 0.2), "shrink": functional.softshrink,
    "square of relu": lambda x: functional.relu(x).square(),
}  # fmt: skip
CHAINS: dict[str, Callable[[Tensor], Tensor]] = {
    "absolute root": lambda x: x.abs().sqrt(), "log of one more": lambda x: torch.log1p(x.abs()),
    "between": lambda x: functional.silu(x).clamp(-0.1, 0.5), "steps": lambda x: torch.floor(x * 4),
}  # fmt: skip
CASES = {
    **{name: behind("lut_s8", lambda y, _, f=f: f(y)) for name, f in UNARY.items()},
    **{name: behind("lut_s8 lut_s8", lambda y, _, f=f: f(y), float_decibels=15) for name, f in CHAINS.items()},
    "exponential": behind("lut_s8", lambda y, _: torch.exp(y), float_decibels=15),
    "slope": slopes(1),
    "slopes": slopes(7),
    "sum": behind("add_s8", lambda y, x: y + x),
    "sum, clamped": behind("add_s8", lambda y, x: (y + x).clamp(-1, 0.5)),
    "sum that broadcasts": behind("slice add_s8", lambda y, x: y + x[:, :1]),
    "sum of rows and columns": behind("slice slice add_s8", lambda y, x: x[:, :, :1] + y[:, :1]),
    "sum with a stored vector": behind("lut_s8 add_s8", lambda y, _: torch.sigmoid(y) + STORED),
    "twice": behind("add_s8", lambda y, _: y + y),
    "weighed": behind("flip lut_s8 add_s8", lambda y, _: torch.add(y, y.flip(2), alpha=0.5)),
    "difference": behind("add_s8", lambda y, x: y - x),
    "difference, turned": behind("add_s8", lambda y, x: torch.rsub(y, x)),
    "product": behind("mul_s8", lambda y, x: y * x),
    "product, clamped": behind("mul_s8", lambda y, x: functional.relu(y * x)),
    "product that broadcasts": behind("slice mul_s8", lambda y, x: y * x[:, :, 2:3]),
    "product with a stored vector": behind("mul_s8", lambda y, _: y * STORED),
    "gate": behind("slice slice lut_s8 mul_s8", lambda y, _: functional.glu(y)),
    "gate of time": behind("slice slice slice lut_s8 mul_s8", lambda y, _: functional.glu(y[:, 1:], 1)),
}
TABLE = Table(CASES)


@pytest.mark.parametrize("name", CASES)
def test_structure(name: str) -> None:
    assert TABLE.operators(name) == CASES[name].operators.split()


@pytest.mark.parametrize("name", CASES)
def test_numbers(name: str) -> None:
    lowering.check_numbers(TABLE, name)


@lowering.needs_vnni
def test_onnx_runtime_gives_the_same_bytes() -> None:
    lowering.check_file(TABLE)
    lowering.check_targets(TABLE)


@pytest.mark.slow
def test_kept_in_float_they_are_islands_and_the_net_runs_whole() -> None:
    lowering.check_islands(TABLE, "sigmoid", "add", "mul", "sub", "prelu", "elu")
