"""``y = sat8(rne(x / scale)) * scale``: the values that INT8 can hold, in float32, per tensor or per channel.

Bound by memory: 4 bytes in, 4 bytes out. The division is correctly rounded, since a reciprocal goes wrong on ties.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels.launch import Capability, Launch, capability_of, run
from edgekit.kernels.quantize_s8 import Config, heuristic
from edgekit.kernels.requant import saturate

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
    offsets = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    mask = offsets < elements
    values = tl.load(x + offsets, mask=mask, other=0.0)
    if per_channel:
        steps = tl.load(scale + offsets // channel_stride % channels, mask=mask, other=1.0)
    else:
        steps = tl.load(scale) + tl.zeros_like(values)
    q = saturate(tl.div_rn(values, steps), lo, hi)
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
    elements = x.numel()
    if not elements:
        return ()
    config = config or heuristic(elements, capability)
    return (
        Launch(
            fake_quantize_kernel,
            {
                "x": x,
                "scale": scale,
                "out": out,
                "elements": elements,
                "channels": scale.numel(),
                "channel_stride": 1 if axis is None else x.stride(axis),
                "lo": float(lo),
                "hi": float(hi),
            },
            {"per_channel": axis is not None, "block": config.block},
            (triton.cdiv(elements, config.block),),
            config.warps,
        ),
    )


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
