"""``y = float32(sum q * w) * (row scale * sw) + b``: a float layer whose input is quantised by the largest of each row.

Nothing is calibrated: the scale of a row is found when it is there, and the result is float32.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from edgekit.errors import UsageError
from edgekit.ops import checks, numerics, samples
from edgekit.ops.spec import Case, Cost, OpSpec

_FLOAT32 = torch.finfo(torch.float32)


def reference(x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """Exact integer sums; every float operation is rounded to float32 on its own, in the order written.

    NaN counts as 0 and infinity as the largest float32. A row whose scale would not be a normal number has scale 1,
    which makes all of it 0.

    Args:
        x: float32 [..., K], K from 1 to 131,071.
        weight: int8 [N, K], symmetric.
        weight_scale: float32 [N].
        bias: float32 [N], or None.

    Returns:
        float32 [..., N].
    """
    finite = torch.nan_to_num(x, nan=0.0, posinf=_FLOAT32.max, neginf=_FLOAT32.min)
    scale = finite.abs().amax(-1, keepdim=True) / torch.tensor(
        numerics.WEIGHT_MAX, dtype=torch.float32, device=x.device
    )
    scale = torch.where(scale < _FLOAT32.tiny, torch.ones_like(scale), scale)
    q = numerics.saturate(x / scale, -numerics.WEIGHT_MAX, numerics.WEIGHT_MAX)
    y = (q.double() @ weight.double().t()).float() * (scale * weight_scale)
    return y if bias is None else y + bias


def shape(x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """Check the arguments; float32 [..., N]."""
    checks.tensor("linear_dynamic", "x", x, torch.float32, x)
    checks.tensor("linear_dynamic", "weight", weight, torch.int8, x)
    checks.rank("linear_dynamic", "weight", weight, 2)
    features, fan_in = weight.shape
    if fan_in == 0:
        raise UsageError("linear_dynamic: a row without values has no scale.", fix="Leave the layer out.")
    if x.dim() == 0 or x.shape[-1] != fan_in:
        checks.size("linear_dynamic", "x", x, (*x.shape[:-1], fan_in))
    for name, value in (("weight_scale", weight_scale), ("bias", bias)):
        if value is not None:
            checks.tensor("linear_dynamic", name, value, torch.float32, x)
            checks.size("linear_dynamic", name, value, (features,))
    numerics.check_reduction(fan_in)
    return x.new_empty((*x.shape[:-1], features))


def case(
    name: str, rows: tuple[int, ...], fan_in: int, features: int, biased: bool = True, layer: bool = False
) -> Case:
    """Rows of normal values, each as large as another power of two."""
    x = samples.f32(*rows, fan_in) * torch.exp2(samples.s8(*rows, 1, seed=2).float() / 8)
    weight, scale = samples.s8(features, fan_in, seed=1).clamp(min=-127), samples.positive(features, middle=0.01)
    return Case(name, (x, weight, scale, samples.f32(features) if biased else None), layer=layer)


def cases() -> Iterator[Case]:
    """Ones, primes, tails, specials, rows of nothing, ties, the longest reduction, strides, no rows."""
    for rows, fan_in, features in ((1, 1, 1), (3, 5, 7), (16, 32, 16), (17, 33, 15), (2, 257, 67)):
        yield case(f"{rows}x{fan_in}x{features}", (rows,), fan_in, features)
    yield case("vector without bias", (), 19, 5, biased=False)
    yield case("batched", (2, 3, 5), 13, 4)
    yield case("no rows", (0,), 4, 3)
    yield case("no features", (3,), 4, 0)
    _, weight, scale, bias = case("", (1,), 8, 3).args
    nothing = [0.0, -0.0, 1e-45, -1e-38, 1e-36, 0.0, 0.0, 0.0]
    wild = [float("inf"), -float("inf"), float("nan"), 3.4e38, -3.4e38, 1.0, 0.0, -1e-45]
    only_nan = [float("nan")] * 8
    ties = [127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -126.5, 126.5]
    yield Case("specials", (torch.tensor([nothing, wild, only_nan, ties, nothing[:4] * 2]), weight, scale, bias))
    ends = torch.full((2, numerics.MAX_REDUCTION), 3.0), torch.full((2, numerics.MAX_REDUCTION), -127, dtype=torch.int8)
    yield Case("longest reduction", (*ends, torch.tensor([1.0, 1e-9]), torch.tensor([0.3, -7.0])))
    yield Case("strided", (samples.f32(9, 16)[::2, ::2], weight.t().contiguous().t(), scale, bias))
    yield case("classifier 1x512x1000", (1,), 512, 1000, layer=True)
    yield case("encoder 128x256x256", (128,), 256, 256, layer=True)


def cost(x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None = None) -> Cost:
    """Rows times features times fan-in."""
    out = shape(x, weight, weight_scale, bias)
    moved = x.nbytes + weight.nbytes + weight_scale.nbytes + (0 if bias is None else bias.nbytes) + out.nbytes
    return Cost(macs=out.numel() * weight.shape[1], bytes=moved)


OP = OpSpec(
    name="linear_dynamic",
    schema="(Tensor x, Tensor weight, Tensor weight_scale, Tensor? bias=None) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "triton"),
)
