"""``y = sat8(rne(t * gain + offset))``, t the value less the mean over the standard deviation: layer norm of int8."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from edgekit.ops import norm, samples
from edgekit.ops.spec import Case, Cost, OpSpec


def reference(x: Tensor, gain: Tensor, offset: Tensor, scale: float, eps: float) -> Tensor:
    """Exact sums, one float64 factor for each set, two roundings in float32 and the last to int8.

    Args:
        x: int8 [..., *gain.shape].
        gain: float32, ``gamma / sy``; its shape says which trailing dimensions are one set.
        offset: float32 of the same shape, ``beta / sy``.
        scale: sx as float32.
        eps: of the float layer.
    """
    t = norm.centred(x.long().flatten(x.dim() - gain.dim()), scale, eps)
    return norm.affine(t, gain.flatten(), offset.flatten()).view(x.shape)


def shape(x: Tensor, gain: Tensor, offset: Tensor, scale: float, eps: float) -> Tensor:
    """Check the arguments; int8 of the shape of ``x``."""
    out = norm.check("layer_norm_s8", x, scale, eps)
    norm.check_trailing("layer_norm_s8", x, gain)
    norm.check_offset("layer_norm_s8", offset, gain)
    return out


def cases() -> Iterator[Case]:
    """Tails, sets of one and of equal values, the longest sums of extremes, two dimensions a set, strides, nothing."""
    for rows, n in ((3, 1), (2, 2), (5, 17), (3, 64), (2, 257), (0, 4)):
        yield Case(f"{rows}x{n}", (samples.s8(rows, n), *weights(n), 0.05, 1e-5))
    constant = torch.full((2, 9), 77, dtype=torch.int8)
    yield Case("all equal", (constant, *weights(9), 0.05, 1e-5))
    yield Case("all equal without eps", (constant, *weights(9), 0.05, 0.0))
    for scale in (2.0**-126, 1e-6, 1e3, 3e38):
        yield Case(f"scale {scale:g}", (samples.s8(4, 19), *weights(19), scale, 1e-5))
    yield Case("two dimensions a set", (samples.s8(2, 3, 4, 5), *weights(4, 5), 0.05, 1e-5))
    yield Case("long and one-sided", (samples.s8(2, 70_001) // 4 + 95, *weights(70_001), 0.05, 1e-5))
    yield Case("strided", (samples.s8(7, 10).t()[::2], *weights(7), 0.05, 1e-5))
    yield Case("encoder 128x256", (samples.s8(128, 256), *weights(256), 0.05, 1e-5), layer=True)


def weights(*size: int) -> tuple[Tensor, Tensor]:
    """Gain and offset that spread a normalised set over int8."""
    return samples.positive(*size, middle=40.0) * samples.f32(*size, seed=2).sign(), samples.f32(*size, spread=10.0)


def cost(x: Tensor, gain: Tensor, offset: Tensor, scale: float, eps: float) -> Cost:  # noqa: ARG001
    """One tensor in, one out."""
    return Cost(macs=0, bytes=2 * x.numel() + gain.nbytes + offset.nbytes)


OP = OpSpec(
    name="layer_norm_s8",
    schema="(Tensor x, Tensor gain, Tensor offset, float scale, float eps) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "avx2", "avx512vnni", "neondot", "triton"),
)
