"""``y = sat8(rne(x / scale)) * scale``: the values that INT8 can hold, in float32, per tensor or per channel.

Bound by memory: 4 bytes in, 4 bytes out. The division is correctly rounded, since a reciprocal goes wrong on ties.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels.launch import Capability, Launch, capability_of, run
from edgekit.kernels.quantize_s8 import Config, heuristic, launches, quotients

__all__ = ["Config", "fake_quantize", "heuristic", "plan"]


@triton.jit
def fake_quantize_kernel(
    x,  # float32 [elements]
    scale,  # float32 [channels]
    out,  # float32 [elements]
    elements,
    channels,
    channel_stride,  # elements from one channel to the next
    lo,  # float, as hi
    hi,
    per_channel: tl.constexpr,
    block: tl.constexpr,
):
    """One program rounds ``block`` neighbours."""
    offsets, mask, q, steps = quotients(x, scale, elements, channels, channel_stride, lo, hi, per_channel, block)
    tl.store(out + offsets, q.to(tl.float32) * steps, mask=mask)


def plan(
    x: Tensor,
    scale: Tensor,
    axis: int | None = None,
    lo: int = -128,
    hi: int = 127,
    *,
    out: Tensor,
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`fake_quantize`, all of them dense.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    if not x.numel():
        return ()
    return launches(fake_quantize_kernel, x, scale, axis, lo, hi, out, config or heuristic(x.numel(), capability))


def fake_quantize(
    x: Tensor,
    scale: Tensor,
    axis: int | None = None,
    lo: int = -128,
    hi: int = 127,
    *,
    out: Tensor | None = None,
    config: Config | None = None,
) -> Tensor:
    """Launch the kernel; arguments as of ``torch.ops.edgekit.fake_quantize``.

    Args:
        x: float32, any shape.
        scale: float32, one value, or [x.shape[axis]].
        axis: the dimension that ``scale`` runs along.
        lo, hi: bounds of the rounded quotient.
        out: float32, dense, of the shape of ``x``; allocated where it is not given.
        config: launch configuration; the heuristic's where it is not given.
    """
    x, scale = x.contiguous(), scale.contiguous()
    out = torch.empty_like(x) if out is None else out
    run(plan(x, scale, axis, lo, hi, out=out, config=config, capability=capability_of(x)))
    return out
