"""Repeatable tensors for the cases of operators: the same values on every machine, extremes included."""

from __future__ import annotations

import torch
from torch import Tensor


def _generator(shape: tuple[int, ...], seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(sum((i + 1) * 1009 * n for i, n in enumerate(shape)) + seed)


def s8(*shape: int, seed: int = 0) -> Tensor:
    """Uniform int8 values, -128 and 127 included."""
    return torch.randint(-128, 128, shape, dtype=torch.int8, generator=_generator(shape, seed))


def s32(*shape: int, seed: int = 0, magnitude: int = 1 << 12) -> Tensor:
    """Uniform int32 values in [-magnitude, magnitude)."""
    return torch.randint(-magnitude, magnitude, shape, dtype=torch.int32, generator=_generator(shape, seed))


def f32(*shape: int, seed: int = 0, spread: float = 1.0) -> Tensor:
    """Normal float32 values with this standard deviation."""
    return torch.randn(shape, generator=_generator(shape, seed)) * spread


def positive(*shape: int, seed: int = 0, middle: float = 1.0) -> Tensor:
    """Positive float32 values within a factor of two of ``middle``: scales and multipliers."""
    return torch.exp2(torch.rand(shape, generator=_generator(shape, seed)) * 2 - 1) * middle


def channels_last(x: Tensor) -> Tensor:
    """Images with their channels innermost."""
    return x.contiguous(memory_format=torch.channels_last)


def specials(scale: float) -> Tensor:
    """float32 values on which quantisation goes wrong first: ties, infinities, NaN, zeros, smallest, largest."""
    ties = (torch.arange(-130, 131, dtype=torch.float32) + 0.5) * scale
    odd = [float("inf"), -float("inf"), float("nan"), 0.0, -0.0, 1e-45, -1e-38, 3.4e38, -3.4e38, 2.0**31, -(2.0**31)]
    return torch.cat([ties, torch.nextafter(ties, ties + 1), torch.nextafter(ties, ties - 1), torch.tensor(odd)])
