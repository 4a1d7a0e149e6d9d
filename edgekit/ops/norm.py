"""What the normalising operators share: exact integer sums of a set of int8 values, and its float64 factor.

A set has N < 2^24 values. In int64 nothing overflows: ``|sum q| <= N * 2^7 < 2^31``, ``sum q*q <= N * 2^14 < 2^38``, so
``N * sum q*q`` and ``(sum q)^2`` stay at or below 2^62, and ``|N*q - sum q| < 2^32``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgekit.errors import NumericsError
from edgekit.ops import checks, numerics

MAX_VALUES = 2**24 - 1


def centred(q: Tensor, scale: float, eps: float) -> Tensor:
    """``float32(N*q - S) * float32(r / N)``, ``r = sx / sqrt(sx*sx*V / (N*N) + eps)``, for int64 ``q`` [..., N]."""
    n, total = q.shape[-1], q.sum(-1, keepdim=True)
    variance = n * (q * q).sum(-1, keepdim=True) - total * total
    return (n * q - total).float() * _factor(variance, n, scale, eps)


def uncentred(q: Tensor, scale: float, eps: float) -> Tensor:
    """The same with ``S = 0``: division by the root mean square."""
    n = q.shape[-1]
    return (n * q).float() * _factor(n * (q * q).sum(-1, keepdim=True), n, scale, eps)


def _factor(variance: Tensor, n: int, scale: float, eps: float) -> Tensor:
    deviation = torch.sqrt(scale * scale * variance.double() / (float(n) * float(n)) + eps)
    return (divide(scale, deviation) / n).float()


def divide(scale: float, length: Tensor) -> Tensor:
    """One float64 division; ``scale / length`` would take torch's reciprocal and round twice."""
    return torch.tensor(scale, dtype=torch.float64, device=length.device) / length


def affine(t: Tensor, gain: Tensor, offset: Tensor | None = None) -> Tensor:
    """``sat8(rne(t * gain + offset))``, two float32 roundings, not fused."""
    product = t * gain
    return numerics.saturate(product if offset is None else product + offset, numerics.S8_MIN, numerics.S8_MAX)


def check_set(operator: str, values: int) -> None:
    """Refuse an empty set, or one whose sums int64 might not hold."""
    if isinstance(values, int) and not 1 <= values <= MAX_VALUES:  # a traced symbol is checked at each run
        raise NumericsError(
            f"{operator}: a set of {values} values cannot be normalised (1 to {MAX_VALUES}).",
            fix="Keep the layer in float.",
        )


def check(operator: str, x: Tensor, scale: float, eps: float) -> Tensor:
    """Refuse what no normalisation takes; int8 of the shape of ``x``."""
    checks.tensor(operator, "x", x, torch.int8, x)
    checks.normal(operator, "scale", scale)
    checks.epsilon(operator, eps)
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def check_trailing(operator: str, x: Tensor, gain: Tensor) -> None:
    """Refuse a gain that is not float32 of the shape of the trailing dimensions of ``x``."""
    checks.tensor(operator, "gain", gain, torch.float32, x)
    rank = gain.dim()
    if rank < 1 or rank > x.dim():
        checks.size(operator, "gain", gain, x.shape[-1:])
    checks.size(operator, "gain", gain, x.shape[x.dim() - rank :])
    check_set(operator, gain.numel())


def check_offset(operator: str, offset: Tensor, gain: Tensor) -> None:
    """Refuse an offset that is not float32 of the shape of ``gain``."""
    checks.tensor(operator, "offset", offset, torch.float32, gain)
    checks.size(operator, "offset", offset, gain.shape)


def last(operator: str, x: Tensor) -> int:
    """The number of values along the last dimension; refuses a scalar."""
    shape: Sequence[int] = x.shape
    if not shape:
        checks.rank(operator, "x", x, 1)
    return shape[-1]
