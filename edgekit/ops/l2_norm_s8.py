"""``y = sat8(rne(float32(q) * c * (1 / sy)))``, ``c = float32(sx / max(sqrt(sx*sx*Q), eps))``: rows of length one.

Q, the sum of the squares, is below 2^38 for rows of N < 2^24 values.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from edgekit.ops import checks, norm, samples
from edgekit.ops.spec import Case, Cost, OpSpec


def reference(x: Tensor, scale: float, output_scale: float, eps: float) -> Tensor:
    """One float64 factor for each row, two roundings in float32 and the last to int8.

    Args:
        x: int8 [..., N].
        scale, output_scale: sx and sy as float32.
        eps: the least length that a row is divided by.
    """
    q = x.long()
    length = torch.sqrt(scale * scale * (q * q).sum(-1, keepdim=True).double())
    c = norm.divide(scale, length.clamp_min(eps)).float()
    return norm.affine(q.float() * c, torch.tensor(output_scale, dtype=torch.float32, device=x.device).reciprocal())


def shape(x: Tensor, scale: float, output_scale: float, eps: float) -> Tensor:
    """Check the arguments; int8 of the shape of ``x``."""
    out = norm.check("l2_norm_s8", x, scale, eps)
    norm.check_set("l2_norm_s8", norm.last("l2_norm_s8", x))
    checks.normal("l2_norm_s8", "output_scale", output_scale)
    return out


def cases() -> Iterator[Case]:
    """Tails, single values, zeros, rows shorter than eps, extremes, strides, nothing."""
    for rows, n in ((3, 1), (2, 2), (5, 17), (3, 64), (2, 257), (0, 4)):
        yield Case(f"{rows}x{n}", (samples.s8(rows, n), 0.05, 1 / 127, 1e-12))
    yield Case("zeros", (torch.zeros(2, 5, dtype=torch.int8), 0.05, 1 / 127, 1e-12))
    yield Case("zeros without eps", (torch.zeros(2, 5, dtype=torch.int8), 0.05, 1 / 127, 0.0))
    yield Case("shorter than eps", (samples.s8(2, 5), 0.05, 1 / 127, 40.0))
    yield Case("long", (torch.full((2, 70_001), -128, dtype=torch.int8), 3e38, 1e-5, 1e-12))
    yield Case("smallest scale", (samples.s8(3, 9), 2.0**-126, 0.004, 1e-12))
    yield Case("strided", (samples.s8(7, 10).t()[::2], 0.05, 1 / 127, 1e-12))
    yield Case("embedding 64x128", (samples.s8(64, 128), 0.05, 0.004, 1e-12), layer=True)


def cost(x: Tensor, scale: float, output_scale: float, eps: float) -> Cost:  # noqa: ARG001
    """One tensor in, one out."""
    return Cost(macs=0, bytes=2 * x.numel())


OP = OpSpec(
    name="l2_norm_s8",
    schema="(Tensor x, float scale, float output_scale, float eps) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "avx2", "avx512vnni", "neondot", "triton"),
)
