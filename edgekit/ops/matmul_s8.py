"""``y = sat8(rne(float32(a @ b) * multiplier))``: the product of matrices of activations, as attention has two."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from edgekit.errors import UsageError
from edgekit.ops import checks, numerics, samples
from edgekit.ops.spec import Case, Cost, OpSpec


def reference(a: Tensor, b: Tensor, multiplier: float, lo: int = -128, hi: int = 127) -> Tensor:
    """Exact sums in float64, one requantisation.

    Args:
        a: int8 [..., M, K], K at most 131,071.
        b: int8 [..., K, N]; the dimensions in front broadcast.
        multiplier: ``(sa * sb) / sy`` as float32; that of scores has the scale of the attention in it.
        lo, hi: bounds of the result.
    """
    ratio = torch.tensor(multiplier, dtype=torch.float32, device=a.device)
    return numerics.requantize(torch.matmul(a.double(), b.double()), ratio, lo, hi)


def shape(a: Tensor, b: Tensor, multiplier: float, lo: int = -128, hi: int = 127) -> Tensor:
    """Check the arguments; int8 [..., M, N]."""
    checks.tensor("matmul_s8", "a", a, torch.int8, a)
    checks.tensor("matmul_s8", "b", b, torch.int8, a)
    if not 2 <= min(a.dim(), b.dim()) <= max(a.dim(), b.dim()) <= 10:
        raise UsageError(f"matmul_s8: a and b must have 2 to 10 dimensions, not {a.dim()} and {b.dim()}.")
    if a.shape[-1] != b.shape[-2]:
        raise UsageError(f"matmul_s8: shapes {tuple(a.shape)} and {tuple(b.shape)} do not multiply.")
    numerics.check_reduction(a.shape[-1])
    checks.normal("matmul_s8", "multiplier", multiplier)
    checks.bounds("matmul_s8", lo, hi)
    return a.new_empty((*checks.together("matmul_s8", a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]))


def cases() -> Iterator[Case]:
    """Ones, primes, tails, shared matrices, transposed ones, extremes, nothing at all."""
    for m, k, n in ((1, 1, 1), (3, 7, 5), (16, 32, 16), (17, 33, 19), (0, 4, 3), (3, 0, 2), (2, 4, 0)):
        yield Case(f"{m}x{k}x{n}", (samples.s8(m, k), samples.s8(k, n, seed=1), 0.002))
    yield Case("heads", (samples.s8(2, 3, 5, 8), samples.s8(2, 3, 8, 5, seed=1), 0.003, -100, 100))
    yield Case("one matrix for all", (samples.s8(2, 3, 5, 8), samples.s8(8, 6, seed=1), 0.003))
    yield Case("broadcast both ways", (samples.s8(4, 1, 5, 8), samples.s8(3, 8, 6, seed=1), 0.003))
    yield Case("transposed keys", (samples.s8(2, 5, 8), samples.s8(2, 6, 8, seed=1).transpose(1, 2), 0.003))
    yield Case(
        "all -128",
        (torch.full((2, 999), -128, dtype=torch.int8),) * 1 + (torch.full((999, 2), -128, dtype=torch.int8), 2.0**-24),
    )
    scores = samples.s8(1, 4, 64, 32), samples.s8(1, 4, 32, 64, seed=1)
    yield Case("scores of 4 heads, 64 steps", (*scores, 0.002), layer=True)


def cost(a: Tensor, b: Tensor, multiplier: float, lo: int = -128, hi: int = 127) -> Cost:
    """Every value of the result adds up K products."""
    out = shape(a, b, multiplier, lo, hi).numel()
    return Cost(macs=out * a.shape[-1], bytes=a.numel() + b.numel() + out)


OP = OpSpec(
    name="matmul_s8",
    schema="(Tensor a, Tensor b, float multiplier, int lo=-128, int hi=127) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "avx2", "avx512vnni", "neondot", "triton"),
)
