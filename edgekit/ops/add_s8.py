"""``y = sat8(rne(fma(float32(a), ratio_a, float32(b) * ratio_b)))``: the sum of two int8 tensors."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from edgekit.errors import NumericsError
from edgekit.ops import checks, numerics, samples
from edgekit.ops.spec import Case, Cost, OpSpec


def reference(a: Tensor, b: Tensor, ratio_a: float, ratio_b: float, lo: int = -128, hi: int = 127) -> Tensor:
    """One rounded product, then one fused multiply-add; order matters.

    In float64 the product is exact, and so is the sum wherever it does not saturate: at most 51 bits from 2^-43 to 2^8.

    Args:
        a, b: int8; they broadcast.
        ratio_a, ratio_b: ``sa / sy`` and ``sb / sy`` as float32, magnitudes in [2^-20, 2^20]; a negative one subtracts.
        lo, hi: bounds of the result.
    """
    first, second = torch.tensor([ratio_a, ratio_b], dtype=torch.float32, device=a.device)
    exact = a.double() * first.double() + (b.float() * second).double()
    return numerics.saturate(exact.float(), lo, hi)


def shape(a: Tensor, b: Tensor, ratio_a: float, ratio_b: float, lo: int = -128, hi: int = 127) -> Tensor:
    """Check the arguments; int8 of the shape that both make."""
    result = checks.broadcast("add_s8", a, b)
    checks.bounds("add_s8", lo, hi)
    check_ratios("add_s8", ratio_a=ratio_a, ratio_b=ratio_b)
    return checks.result(result, a, b)


def check_ratios(operator: str, **ratios: float) -> None:
    """Refuse a ratio whose magnitude is outside [2^-20, 2^20]."""
    for name, ratio in ratios.items():
        if not 1 / numerics.MAX_RATIO <= abs(ratio) <= numerics.MAX_RATIO:
            raise NumericsError(f"{operator}: {name} is {ratio:g}, its magnitude must lie in [2^-20, 2^20].")


def cases() -> Iterator[Case]:
    """Every pair of int8 values at simple, random and extreme ratios; tails; strides; nothing at all."""
    values = torch.arange(-128, 128).to(torch.int8)
    every = (values.repeat_interleave(256), values.repeat(256))
    for ratios in (
        (1.0, 1.0),
        (0.5, 0.5),
        (0.25, 0.75),
        (0.7310585975646973, 1.3),
        (2.0**-20, 2.0**20),
        (2.0**20, 2.0**-20),
    ):
        yield Case(f"every pair at {ratios[0]:g}, {ratios[1]:g}", (*every, *ratios))
    yield Case("difference", (*every, 0.5, -1.5))
    for n in (0, 1, 15, 67):
        yield Case(f"length {n}", (samples.s8(n), samples.s8(n, seed=1), 0.3, 0.9, 0, 127))
    yield Case("strided", (samples.s8(5, 6).t(), samples.s8(6, 10)[:, ::2], 0.5, 0.5))
    last = samples.channels_last(samples.s8(2, 3, 5, 4))
    yield Case("channels last", (last, samples.s8(2, 3, 5, 4, seed=1), 0.5, 0.75))
    yield Case("channels last, second", (samples.s8(3, 1, 1, seed=1), last, 0.5, 0.75))
    yield Case("one row for all", (samples.s8(3, 1, 5, 7), samples.s8(4, 1, 7, seed=1), 0.5, 0.75))
    yield Case("one value for all", (samples.s8(1), samples.s8(2, 3, 4, seed=1), 0.5, 0.75))
    yield Case(
        "block 64x56x56", (samples.s8(1, 64, 56, 56), samples.s8(1, 64, 56, 56, seed=1), 0.8, 0.6, 0, 127), layer=True
    )


def cost(a: Tensor, b: Tensor, ratio_a: float, ratio_b: float, lo: int = -128, hi: int = 127) -> Cost:  # noqa: ARG001
    """Two tensors in, one out."""
    return Cost(macs=0, bytes=a.numel() + b.numel() + shape(a, b, ratio_a, ratio_b).numel())


OP = OpSpec(
    name="add_s8",
    schema="(Tensor a, Tensor b, float ratio_a, float ratio_b, int lo=-128, int hi=127) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "avx2", "avx512vnni", "neondot", "triton"),
)
