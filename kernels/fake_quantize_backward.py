"""The gradients of ``fake_quantize``: of ``x``, element by element, and of a learned ``scale``, summed per channel.

Bound by memory: 8 bytes in, 4 bytes out. Both come of one pass. The sum has the one order of ``kernels/sums.py``: a
program takes a chunk of one channel, 256 neighbours at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels import sums
from edgekit.kernels.launch import Capability, Launch, capability_of, run
from edgekit.kernels.requant import round_half_even
from edgekit.kernels.sums import fold, offsets_of


@dataclass(frozen=True)
class Config:
    """Launch configuration.

    Attributes:
        warps: warps per program; a program takes 256 neighbours at a time.
    """

    warps: int


def heuristic(length: int, capability: Capability) -> Config:  # noqa: ARG001
    """Four neighbours to a thread, a load of 16 bytes; two where a channel has less than a chunk and programs end soon.

    Args:
        length: elements of a channel.
        capability: of the device; (8, 7) for Orin.
    """
    return Config(2 if length >= sums.CHUNK else 4)


@triton.jit
def slopes(quotient, lo, hi):
    """Where the slope in x is 1, and the slope in the scale; a quotient beyond the bounds counts as one step beyond."""
    steps = round_half_even(tl.minimum(tl.maximum(quotient, lo - 1.0), hi + 1.0))
    number = quotient == quotient
    inside = (steps >= lo) & (steps <= hi) & number
    slope = tl.where(inside, steps - quotient, tl.where(steps < lo, lo, hi))
    return inside, tl.where(number, slope, 0.0)


@triton.jit
def fake_quantize_backward_kernel(
    gradient,  # float32 [outer, channels, inner]
    x,  # float32, as gradient
    scale,  # float32 [channels]
    of_x,  # float32, as gradient
    of_scale,  # float64 [channels, chunks], or float32 [channels] for one chunk
    length,  # elements of a channel
    channels,
    inner,
    chunks,  # of a channel
    lo,  # float, as hi
    hi,
    learned: tl.constexpr,
    dense: tl.constexpr,
    chunk: tl.constexpr,
    lanes: tl.constexpr,
):
    """One program takes one chunk of one channel."""
    program = tl.program_id(0).to(tl.int64)
    channel, first = program // chunks, program % chunks * chunk
    step = tl.load(scale + channel)
    total = tl.zeros((lanes,), dtype=tl.float64)
    for start in range(0, tl.minimum(length - first, chunk), lanes):
        terms = first + start + tl.arange(0, lanes)
        mask = terms < length
        offsets = offsets_of(terms, channel, channels, inner, dense)
        values = tl.load(x + offsets, mask=mask, other=0.0)
        incoming = tl.load(gradient + offsets, mask=mask, other=0.0)
        inside, slope = slopes(tl.div_rn(values, step + tl.zeros_like(values)), lo, hi)
        tl.store(of_x + offsets, tl.where(inside, incoming, 0.0), mask=mask)
        if learned:
            total += incoming.to(tl.float64) * slope.to(tl.float64)
    if learned:
        tl.store(of_scale + program + tl.arange(0, 1), fold(total))


def plan(
    gradient: Tensor,
    x: Tensor,
    scale: Tensor,
    axis: int | None = None,
    lo: int = -128,
    hi: int = 127,
    of_scale: bool = True,
    *,
    out: tuple[Tensor, Tensor],
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`fake_quantize_backward`, all of them dense.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    channels = scale.numel()
    if not channels:
        return ()
    length = x.numel() // channels
    inner = length if axis is None else x.stride(axis)
    buffer = sums.buffer_of(out[1], length) if of_scale else out[1]
    joined = sums.join(buffer, out[1]) if of_scale else ()
    if not length:
        return joined
    config, chunks = config or heuristic(length, capability), sums.chunks_of(length)
    passed = Launch(
        fake_quantize_backward_kernel,
        {
            "gradient": gradient,
            "x": x,
            "scale": scale,
            "of_x": out[0],
            "of_scale": buffer,
            "length": length,
            "channels": channels,
            "inner": inner,
            "chunks": chunks,
            "lo": float(lo),
            "hi": float(hi),
        },
        {"learned": of_scale, "dense": inner == length, "chunk": sums.CHUNK, "lanes": sums.LANES},
        (channels * chunks,),
        config.warps,
    )
    return (passed, *joined)


def fake_quantize_backward(
    gradient: Tensor,
    x: Tensor,
    scale: Tensor,
    axis: int | None = None,
    lo: int = -128,
    hi: int = 127,
    of_scale: bool = True,
    *,
    out: tuple[Tensor, Tensor] | None = None,
    config: Config | None = None,
) -> tuple[Tensor, Tensor]:
    """Launch the kernels; arguments as of ``torch.ops.edgekit.fake_quantize_backward``.

    Args:
        gradient: float32, of the shape of ``x``.
        x: float32, any shape.
        scale: float32, one value, or [x.shape[axis]].
        axis: the dimension that ``scale`` runs along.
        lo, hi: bounds of the rounded quotient.
        of_scale: whether the scale is learned; its gradient is [0] where it is not.
        out: float32, dense, of the shapes of ``x`` and ``scale``; allocated where it is not given.
        config: launch configuration; the heuristic's where it is not given.
    """
    gradient, x, scale = (tensor.contiguous() for tensor in (gradient, x, scale))
    out = (torch.empty_like(x), scale.new_empty(scale.shape if of_scale else 0)) if out is None else out
    run(plan(gradient, x, scale, axis, lo, hi, of_scale, out=out, config=config, capability=capability_of(x)))
    return out
