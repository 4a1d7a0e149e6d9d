"""What calibration needs of a tensor: extremes, how many values there are, a histogram of magnitudes.

The range of the histogram depends on the extremes, so memory is read twice: once for the extremes, kept as integers of
the same order, whose minimum the GPU has as an atomic operation, then for the bins. All results are whole numbers or
values of the tensor, so the order in which programs come to them changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels.launch import Capability, Launch, capability_of, multiprocessors, run

BINS = 2048
LEAST_EXPONENT = -116

_MAGNITUDE = tl.constexpr(0x7FFFFFFF)  # all bits but the sign; the largest int32
_INFINITE = tl.constexpr(0x7F800000)
_LEAST = tl.constexpr(-0x80000000)


@dataclass(frozen=True)
class Config:
    """Launch configuration.

    Attributes:
        block: elements per program.
        warps: warps per program.
    """

    block: int
    warps: int


def heuristic(elements: int, capability: Capability) -> Config:
    """Large blocks, so that few programs meet at the extremes; smaller ones where multiprocessors would stay idle.

    Args:
        elements: of the tensor.
        capability: of the device; (8, 7) for Orin.
    """
    return Config(4096, 8) if elements >= 4096 * multiprocessors(capability) else Config(512, 4)


@triton.jit
def ordered(bits):
    """An int32 of the same order as the float32 with these bits, and back."""
    return bits ^ ((bits >> 31) & _MAGNITUDE)


@triton.jit
def real_of(key):
    """The float32 that ``ordered`` made ``key`` of; 0 for -0."""
    value = ordered(key).to(tl.float32, bitcast=True)
    return tl.where(value == 0.0, 0.0, value)


@triton.jit
def bits_at(x, elements, block: tl.constexpr):
    """The bits of ``block`` neighbours, which of them there are, and which of these are finite."""
    offsets = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    there = offsets < elements
    bits = tl.load(x + offsets, mask=there, other=0.0).to(tl.int32, bitcast=True)
    return bits, there, there & ((bits & _MAGNITUDE) < _INFINITE)


@triton.jit
def clear_kernel(
    finite,  # int64 [1], as others: how many there are
    others,
    histogram,  # int64 [bins]
    least,  # int32 [1], as most: the smallest and the largest finite value, as ordered integers
    most,
    bins: tl.constexpr,
):
    """One program sets what others add to."""
    tl.store(finite, 0)
    tl.store(others, 0)
    tl.store(histogram + tl.arange(0, bins).to(tl.int64), tl.zeros((bins,), dtype=tl.int64))
    tl.store(least, _MAGNITUDE)
    tl.store(most, _LEAST)


@triton.jit
def extremes_kernel(
    x,  # float32 [elements]
    finite,  # these four as of clear_kernel
    others,
    least,
    most,
    elements,
    block: tl.constexpr,
):
    """One program looks at ``block`` neighbours."""
    bits, there, kept = bits_at(x, elements, block)
    key = ordered(bits)
    tl.atomic_min(least, tl.min(tl.where(kept, key, _MAGNITUDE), 0))
    tl.atomic_max(most, tl.max(tl.where(kept, key, _LEAST), 0))
    count, count_kept = tl.sum(there.to(tl.int32), 0), tl.sum(kept.to(tl.int32), 0)
    tl.atomic_add(finite, count_kept.to(tl.int64))
    tl.atomic_add(others, (count - count_kept).to(tl.int64))


@triton.jit
def histogram_kernel(
    x,  # float32 [elements]
    smallest,  # float32 [1], as largest
    largest,
    finite,  # int64 [1]
    exponent,  # int64 [1]
    histogram,  # int64 [bins]
    least,  # int32 [1], as most
    most,
    elements,
    least_exponent: tl.constexpr,
    bins_exponent: tl.constexpr,
    block: tl.constexpr,
):
    """One program counts ``block`` neighbours; the first also writes what the extremes say."""
    low, high, some = tl.load(least), tl.load(most), tl.load(finite) > 0
    magnitude = tl.maximum(ordered(low) & _MAGNITUDE, ordered(high) & _MAGNITUDE)
    power = tl.where(some, tl.maximum((magnitude >> 23) - 126, least_exponent), least_exponent)
    if tl.program_id(0) == 0:
        tl.store(smallest, tl.where(some, real_of(low), 0.0))
        tl.store(largest, tl.where(some, real_of(high), 0.0))
        tl.store(exponent, power.to(tl.int64))
    bits, _, kept = bits_at(x, elements, block)
    values = tl.where(kept, bits & _MAGNITUDE, 0).to(tl.float32, bitcast=True)
    per_unit = ((bins_exponent + 127 - power) << 23).to(tl.float32, bitcast=True)  # bins / 2^power
    at = (values * per_unit).to(tl.int32)  # a product with a power of two is exact
    # Half of what a ReLU gives is 0: additions to one place wait for each other, so a program makes one of them.
    tl.atomic_add(histogram, tl.sum((kept & (at == 0)).to(tl.int32), 0).to(tl.int64))
    tl.atomic_add(histogram + at.to(tl.int64), tl.full((block,), 1, dtype=tl.int64), mask=kept & (at > 0))


def plan(
    x: Tensor,
    *,
    out: tuple[Tensor, Tensor, Tensor],
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`observe`, all of them dense.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    (smallest, largest), (finite, others, exponent) = out[0].split(1), out[1].split(1)
    least, most = x.new_empty(2, dtype=torch.int32).split(1)
    histogram, elements = out[2], x.numel()
    config = config or heuristic(elements, capability)
    grid, block = (max(1, triton.cdiv(elements, config.block)),), {"block": config.block}
    cleared = {"finite": finite, "others": others, "histogram": histogram, "least": least, "most": most}
    looked = {"x": x, "finite": finite, "others": others, "least": least, "most": most, "elements": elements}
    counted = {
        "x": x,
        "smallest": smallest,
        "largest": largest,
        "finite": finite,
        "exponent": exponent,
        "histogram": histogram,
        "least": least,
        "most": most,
        "elements": elements,
    }
    powers = {"least_exponent": LEAST_EXPONENT, "bins_exponent": BINS.bit_length() - 1}
    return (
        Launch(clear_kernel, cleared, {"bins": BINS}, (1,), 4),
        Launch(extremes_kernel, looked, block, grid, config.warps),
        Launch(histogram_kernel, counted, powers | block, grid, config.warps),
    )


def observe(
    x: Tensor,
    *,
    out: tuple[Tensor, Tensor, Tensor] | None = None,
    config: Config | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Launch the kernels; argument and results as of ``torch.ops.edgekit.observe``.

    Args:
        x: float32, any shape.
        out: float32 [2], int64 [3], int64 [2048]; allocated where it is not given.
        config: launch configuration; the heuristic's where it is not given.
    """
    x = x.contiguous()
    if out is None:
        out = x.new_empty(2), x.new_empty(3, dtype=torch.int64), x.new_empty(BINS, dtype=torch.int64)
    run(plan(x, out=out, config=config, capability=capability_of(x)))
    return out
