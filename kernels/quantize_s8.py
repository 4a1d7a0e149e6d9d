"""``out[i] = sat8(rne(x[i] / scale[channel of i]))``: float32 to int8, per tensor or per channel.

Bound by memory: 4 bytes in, 1 byte out. The division is correctly rounded, since a reciprocal goes wrong on ties.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels.broadcast import in_order
from edgekit.kernels.launch import Capability, Launch, capability_of, multiprocessors, run
from edgekit.kernels.requant import saturate


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
    """Sixteen bytes per thread and load where there is work for every multiprocessor; smaller programs where not.

    Args:
        elements: of the tensor.
        capability: of the device; (8, 7) for Orin.
    """
    return Config(1024, 4) if elements >= 1024 * multiprocessors(capability) else Config(256, 2)


@triton.jit
def quotients(x, scale, elements, channels, channel_stride, lo, hi, per_channel: tl.constexpr, block: tl.constexpr):
    """What this program quantises: offsets, which of them exist, int8 values, and the step of each."""
    offsets = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    mask = offsets < elements
    values = tl.load(x + offsets, mask=mask, other=0.0)
    if per_channel:
        steps = tl.load(scale + offsets // channel_stride % channels, mask=mask, other=1.0)
    else:
        steps = tl.load(scale) + tl.zeros_like(values)
    return offsets, mask, saturate(tl.div_rn(values, steps), lo, hi), steps


@triton.jit
def quantize_s8_kernel(
    x,  # float32 [elements]
    scale,  # float32 [channels]
    out,  # int8 [elements]
    elements,
    channels,
    channel_stride,  # elements from one channel to the next
    lo,  # float, as hi
    hi,
    per_channel: tl.constexpr,
    block: tl.constexpr,
):
    """One program quantises ``block`` neighbours."""
    offsets, mask, q, _ = quotients(x, scale, elements, channels, channel_stride, lo, hi, per_channel, block)
    tl.store(out + offsets, q, mask=mask)


def launches(
    kernel: Any, x: Tensor, scale: Tensor, axis: int | None, lo: int, hi: int, out: Tensor, config: Config
) -> tuple[Launch, ...]:
    """Of a kernel with the parameters of :func:`quantize_s8_kernel`."""
    elements = x.numel()
    arguments: dict[str, Tensor | int | float] = {"x": x, "scale": scale, "out": out, "elements": elements}
    arguments |= {"channels": scale.numel(), "channel_stride": 1 if axis is None else x.stride(axis)}
    arguments |= {"lo": float(lo), "hi": float(hi)}
    constants = {"per_channel": axis is not None, "block": config.block}
    return (Launch(kernel, arguments, constants, (triton.cdiv(elements, config.block),), config.warps),)


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
    """The launches of one call; arguments as of :func:`quantize_s8`, all of them dense.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    if not x.numel():
        return ()
    return launches(quantize_s8_kernel, x, scale, axis, lo, hi, out, config or heuristic(x.numel(), capability))


def quantize_s8(
    x: Tensor,
    scale: Tensor,
    axis: int | None = None,
    lo: int = -128,
    hi: int = 127,
    *,
    out: Tensor | None = None,
    config: Config | None = None,
) -> Tensor:
    """Launch the kernel; arguments as of ``torch.ops.edgekit.quantize_s8``.

    Args:
        x: float32, any shape.
        scale: float32, one value, or [x.shape[axis]].
        axis: the dimension that ``scale`` runs along.
        lo, hi: bounds of the result.
        out: int8, dense in any order, of the shape of ``x``; allocated where it is not given.
        config: launch configuration; the heuristic's where it is not given.
    """
    out = torch.empty_like(x, dtype=torch.int8) if out is None else out
    x, axis, seen = in_order(x, axis, out)
    run(plan(x, scale.contiguous(), axis, lo, hi, out=seen, config=config, capability=capability_of(x)))
    return out
