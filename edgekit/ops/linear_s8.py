"""``y[..., n] = sat8(rne(float32(sum_k x[..., k] * w[n, k] + b[n]) * m[n]))``: fully connected layer, int8 to int8."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from edgekit.ops import checks, epilogue, numerics, samples
from edgekit.ops.epilogue import Epilogue
from edgekit.ops.spec import Case, Cost, OpSpec


def reference(
    x: Tensor, weight: Tensor, bias: Tensor, multiplier: Tensor, lo: int = -128, hi: int = 127, *after: Any
) -> Tensor:
    """Exact products and sums in float64, one requantisation; a bias may wrap the accumulator modulo 2^32.

    Args:
        x: int8 [..., K], K at most 131,071.
        weight: int8 [N, K].
        bias: int32 [N], in steps of the input scale times the weight scale.
        multiplier: float32 [N], ``(sx * sw) / sy``.
        lo, hi: bounds of the result; a quantised ReLU or ReLU6.
        after: what follows, an :class:`~edgekit.ops.epilogue.Epilogue`.

    Returns:
        int8 [..., N].
    """
    accumulator = (x.double() @ weight.double().t()).long() + bias.long()
    return Epilogue(*after).of(numerics.requantize(accumulator, multiplier, lo, hi))


def shape(
    x: Tensor, weight: Tensor, bias: Tensor, multiplier: Tensor, lo: int = -128, hi: int = 127, *after: Any
) -> Tensor:
    """Check the arguments; int8 [..., N]."""
    checks.tensor("linear_s8", "x", x, torch.int8, x)
    checks.tensor("linear_s8", "weight", weight, torch.int8, x)
    checks.rank("linear_s8", "weight", weight, 2)
    features, fan_in = weight.shape
    if x.dim() == 0 or x.shape[-1] != fan_in:
        checks.size("linear_s8", "x", x, (*x.shape[:-1], fan_in))
    channel_vectors("linear_s8", x, bias, multiplier, features)
    numerics.check_reduction(fan_in)
    checks.bounds("linear_s8", lo, hi)
    return Epilogue(*after).check("linear_s8", x.new_empty((*x.shape[:-1], features)))


def channel_vectors(operator: str, x: Tensor, bias: Tensor, multiplier: Tensor, channels: int) -> None:
    """Refuse a bias that is not int32 [channels], or a multiplier that is not float32 [channels]."""
    checks.tensor(operator, "bias", bias, torch.int32, x)
    checks.size(operator, "bias", bias, (channels,))
    checks.tensor(operator, "multiplier", multiplier, torch.float32, x)
    checks.size(operator, "multiplier", multiplier, (channels,))


def case(name: str, rows: tuple[int, ...], fan_in: int, features: int, *bounds: int, layer: bool = False) -> Case:
    """A layer whose results spread over the whole of int8."""
    multiplier = samples.positive(features, middle=40 / (5461 * max(fan_in, 1) ** 0.5))
    args = (samples.s8(*rows, fan_in), samples.s8(features, fan_in, seed=1), samples.s32(features), multiplier)
    return Case(name, (*args, *bounds), layer=layer)


def worst(x: int, weight: int, fan_in: int = numerics.MAX_REDUCTION) -> Case:
    """The longest dot product of two constants: the end of int32 that the design must hold."""
    operands = torch.full((2, fan_in), x, dtype=torch.int8), torch.full((3, fan_in), weight, dtype=torch.int8)
    multiplier = torch.tensor([2.0**-24, 1e-9, 1.0])
    return Case(f"{fan_in} times {x} * {weight}", (*operands, torch.zeros(3, dtype=torch.int32), multiplier))


def cases() -> Iterator[Case]:
    """Ones, primes, tails around every tile, the longest reductions, zero sizes, ties and a wrapping bias."""
    for rows, fan_in, features in ((1, 1, 1), (3, 5, 7), (16, 32, 16), (17, 33, 15), (2, 257, 67), (1, 64, 10)):
        yield case(f"{rows}x{fan_in}x{features}", (rows,), fan_in, features)
    yield case("vector", (), 19, 5)
    yield case("batched", (2, 3, 5), 13, 4, 0, 120)
    for rows, fan_in, features in ((0, 4, 3), (3, 0, 2), (2, 4, 0)):
        yield case(f"zero size {rows}x{fan_in}x{features}", (rows,), fan_in, features)
    for x, weight in ((-128, -128), (-128, 127), (127, -128), (-128, -127)):
        yield worst(x, weight)
    ties = torch.arange(-128, 128, dtype=torch.int32)
    halves = torch.full((256,), 0.5)
    yield Case("ties", (samples.s8(2, 0), samples.s8(256, 0), ties, halves))
    wrap = torch.full((2,), 127, dtype=torch.int8), torch.full((1, 2), 127, dtype=torch.int8)
    yield Case("wrapping bias", (*wrap, torch.tensor([2**31 - 1], dtype=torch.int32), torch.tensor([1e-9])))
    yield Case(
        "strided", (samples.s8(9, 14)[::2, ::2], samples.s8(7, 6).t(), samples.s32(6), samples.positive(6, middle=1e-3))
    )
    yield from epilogue.cases(case("17x33x15", (17,), 33, 15, -128, 127), (17, 15))
    yield case("classifier 1x512x1000", (1,), 512, 1000, layer=True)
    yield case("encoder 128x256x256", (128,), 256, 256, layer=True)


def cost(
    x: Tensor, weight: Tensor, bias: Tensor, multiplier: Tensor, lo: int = -128, hi: int = 127, *after: Any
) -> Cost:
    """Rows times features times fan-in."""
    out = shape(x, weight, bias, multiplier, lo, hi, *after).numel()
    read = x.nbytes + weight.nbytes + bias.nbytes + multiplier.nbytes + Epilogue(*after).bytes
    return Cost(macs=out * weight.shape[1], bytes=read + out)


OP = OpSpec(
    name="linear_s8",
    schema="(Tensor x, Tensor weight, Tensor bias, Tensor multiplier, int lo=-128, int hi=127, "
    f"{epilogue.SCHEMA}) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "avx2", "avx512vnni", "neondot", "triton"),
)
