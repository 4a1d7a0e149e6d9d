"""Layer norm over the channels of a group and all positions; with a group for each channel it is instance norm."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from edgekit.ops import checks, layer_norm_s8, norm, numerics, samples
from edgekit.ops.spec import Case, Cost, OpSpec


def reference(x: Tensor, groups: int, gain: Tensor, offset: Tensor, scale: float, eps: float) -> Tensor:
    """Layer norm of sets that are made of whole channels.

    Args:
        x: int8 [N, C, ...].
        groups: how many sets the channels of one item form; divides C.
        gain, offset: float32 [C], ``gamma / sy`` and ``beta / sy``.
        scale: sx as float32.
        eps: of the float layer.
    """
    t = norm.centred(torch.unflatten(x.long().flatten(1), 1, (groups, -1)), scale, eps).view(x.shape)
    return norm.affine(t, numerics.along(gain, 1, x.dim()), numerics.along(offset, 1, x.dim()))


def shape(x: Tensor, groups: int, gain: Tensor, offset: Tensor, scale: float, eps: float) -> Tensor:
    """Check the arguments; int8 of the shape of ``x``."""
    out = norm.check("group_norm_s8", x, scale, eps)
    if x.dim() < 2:
        checks.rank("group_norm_s8", "x", x, 2)
    channels = x.shape[1]
    checks.integer("group_norm_s8", "groups", groups, 1, channels)
    checks.integer("group_norm_s8", "channels that groups leave over", channels % groups, 0, 0)
    checks.tensor("group_norm_s8", "gain", gain, torch.float32, x)
    checks.size("group_norm_s8", "gain", gain, (channels,))
    norm.check_offset("group_norm_s8", offset, gain)
    norm.check_set("group_norm_s8", math.prod(x.shape[1:]) // groups)
    return out


def cases() -> Iterator[Case]:
    """One group, some, one for each channel; ranks 2 to 4; tails; equal values; strides; nothing."""
    for groups in (1, 2, 6):
        yield Case(f"{groups} groups", (samples.s8(2, 6, 3, 5), groups, *layer_norm_s8.weights(6), 0.05, 1e-5))
    yield Case("no position", (samples.s8(3, 8), 4, *layer_norm_s8.weights(8), 0.05, 1e-5))
    yield Case("sequence", (samples.s8(1, 4, 33), 2, *layer_norm_s8.weights(4), 0.002, 1e-3))
    equal = torch.full((1, 4, 3), -128, dtype=torch.int8)
    yield Case("all equal", (equal, 2, *layer_norm_s8.weights(4), 0.05, 1e-5))
    yield Case("no item", (samples.s8(0, 4, 3), 2, *layer_norm_s8.weights(4), 0.05, 1e-5))
    strided = samples.channels_last(samples.s8(2, 6, 4, 4))
    yield Case("channels last", (strided, 3, *layer_norm_s8.weights(6), 0.05, 1e-5))
    yield Case("block 64x28x28", (samples.s8(1, 64, 28, 28), 32, *layer_norm_s8.weights(64), 0.05, 1e-5), layer=True)


def cost(x: Tensor, groups: int, gain: Tensor, offset: Tensor, scale: float, eps: float) -> Cost:  # noqa: ARG001
    """One tensor in, one out."""
    return Cost(macs=0, bytes=2 * x.numel() + gain.nbytes + offset.nbytes)


OP = OpSpec(
    name="group_norm_s8",
    schema="(Tensor x, int groups, Tensor gain, Tensor offset, float scale, float eps) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "avx2", "avx512vnni", "neondot", "triton"),
)
