"""What calibration needs of a tensor, in one pass: extremes, how many values there are, a histogram of magnitudes.

The range of the histogram is a power of two above every value, and its 2048 bins are equally wide. So histograms of
several tensors add up without an error once the range of the smaller is doubled, which merges pairs of bins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from edgekit.ops import checks, samples
from edgekit.ops.spec import Case, Cost, OpSpec

BINS = 2048
LEAST_EXPONENT = -116  # of the range; a tensor without a larger value has no scale, so its bins need not be finer


def reference(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Look at every value once; NaN and infinite values are counted and left out of everything else.

    Args:
        x: float32, any shape.

    Returns:
        float32 [2]: the smallest and largest finite value, zeros where there is none; int64 [3]: how many finite
        values, how many others, and the exponent e of the range; int64 [2048]: how many magnitudes are in
        [i, i + 1) * 2^e / 2048.
    """
    finite = x[torch.isfinite(x)].double()
    magnitudes = finite.abs()
    exponent = max(math.frexp(float(magnitudes.max()))[1] if len(finite) else 0, LEAST_EXPONENT)
    exponent = exponent if magnitudes.any() else LEAST_EXPONENT
    extremes = torch.stack([finite.min(), finite.max()]) if len(finite) else torch.zeros(2, device=x.device)
    tally = torch.tensor([len(finite), x.numel() - len(finite), exponent], device=x.device)
    bins = (magnitudes * math.ldexp(BINS, -exponent)).long()
    return extremes.float(), tally, torch.bincount(bins, minlength=BINS)


def shape(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Check the argument; extremes [2], counts and exponent [3], histogram [2048]."""
    checks.tensor("observe", "x", x, torch.float32, x)
    return x.new_empty(2), x.new_empty(3, dtype=torch.int64), x.new_empty(BINS, dtype=torch.int64)


def cases() -> Iterator[Case]:
    """Tails, both ends of the exponent, what is not finite, ranges that grow on the way, nothing at all."""
    for n in (0, 1, 3, 1023, 1024, 1025, 5000):
        yield Case(f"length {n}", (samples.f32(n, spread=3),))
    yield Case("specials", (samples.specials(0.1),))
    yield Case("nothing finite", (torch.full((1500,), float("nan")),))
    yield Case("zeros of both signs", (torch.tensor([0.0, -0.0] * 700),))
    yield Case("subnormal", (samples.f32(1200) * 1e-40,))
    yield Case("powers of two", (torch.exp2(torch.arange(-149.0, 128)).repeat(9),))
    yield Case("the range grows", (torch.exp2(torch.arange(-126, 127).float()).repeat_interleave(40),))
    yield Case("the range is there at once", (torch.exp2(torch.arange(126, -127, -1).float()).repeat_interleave(40),))
    yield Case("scalar", (torch.tensor(-0.7),))
    yield Case("strided", (samples.f32(50, 60).t()[::3],))
    yield Case("behind a ReLU", (samples.f32(64, 100).relu(),))
    yield Case("image 64x56x56", (samples.f32(1, 64, 56, 56),), layer=True)


def cost(x: Tensor) -> Cost:
    """Reads floats; what it writes is small."""
    return Cost(macs=0, bytes=x.nbytes + 2 * 4 + 3 * 8 + BINS * 8)


OP = OpSpec(
    name="observe",
    schema="(Tensor x) -> (Tensor, Tensor, Tensor)",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "avx2", "triton"),
)
