"""``y = sat8(rne(t * gain))``, t the value over the root of the mean square: RMS norm of int8."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from edgekit.ops import layer_norm_s8, norm
from edgekit.ops.spec import Case, Cost, OpSpec


def reference(x: Tensor, gain: Tensor, scale: float, eps: float) -> Tensor:
    """Layer norm whose sum counts as 0; arguments as of :func:`edgekit.ops.layer_norm_s8.reference`."""
    t = norm.uncentred(x.long().flatten(x.dim() - gain.dim()), scale, eps)
    return norm.affine(t, gain.flatten()).view(x.shape)


def shape(x: Tensor, gain: Tensor, scale: float, eps: float) -> Tensor:
    """Check the arguments; int8 of the shape of ``x``."""
    out = norm.check("rms_norm_s8", x, scale, eps)
    norm.check_trailing("rms_norm_s8", x, gain)
    return out


def cases() -> Iterator[Case]:
    """The same inputs as layer_norm_s8, and nothing but zeros."""
    for case in layer_norm_s8.cases():
        x, gain, _, scale, eps = case.args
        yield Case(case.name, (x, gain, scale, eps), case.layer)
    gain, zeros = layer_norm_s8.weights(5)[0], torch.zeros(2, 5, dtype=torch.int8)
    yield Case("zeros without eps", (zeros, gain, 0.1, 0.0))


def cost(x: Tensor, gain: Tensor, scale: float, eps: float) -> Cost:  # noqa: ARG001
    """One tensor in, one out."""
    return Cost(macs=0, bytes=2 * x.numel() + gain.nbytes)


OP = OpSpec(
    name="rms_norm_s8",
    schema="(Tensor x, Tensor gain, float scale, float eps) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "avx2", "avx512vnni", "neondot", "triton"),
)
