"""Transposed 2-D convolution, int8 to int8, as plain ones: as many as there are pixels in a stride (``phases.py``).

Nothing is copied for that: parts of filters and of the result are walked by strides, those of filters backwards.
"""

from __future__ import annotations

import itertools

from torch import Tensor

from edgekit.kernels.conv2d_s8 import Config, Filters, conv2d_s8_kernel, launch
from edgekit.kernels.launch import Capability, Launch, capability_of, run
from edgekit.kernels.phases import phases
from edgekit.kernels.pixels import Pair, geometry

__all__ = ["Config", "conv2d_s8_kernel", "conv_transpose2d_s8", "plan"]


def plan(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    stride: Pair,
    padding: Pair,
    output_padding: Pair,  # noqa: ARG001  # the size of ``out`` says it
    groups: int,
    dilation: Pair,
    lo: int = -128,
    hi: int = 127,
    *,
    out: Tensor,
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`conv_transpose2d_s8`, the weight of any strides.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    if not out.numel():
        return ()
    axes = [
        list(phases(*axis)) for axis in zip(out.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    ]
    channels, filters = weight.shape[0] // groups, weight.shape[1]
    steps = weight.stride()
    launches = []
    for rows, columns in itertools.product(*axes):
        tensors = {
            "x": x,
            "weight": weight[:, :, rows.last_tap :, columns.last_tap :],
            "bias": bias,
            "multiplier": multiplier,
            "out": out[:, :, rows.first :: stride[0], columns.first :: stride[1]],
        }
        window = (rows.padding, columns.padding), (rows.dilation, columns.dilation)
        walk = Filters(
            rows.taps, columns.taps, channels, filters, channels * steps[0], steps[1], steps[0],
            -rows.tap_step * steps[2], -columns.tap_step * steps[3],
        )  # fmt: skip
        launches.append(
            launch(
                tensors,
                geometry(x, tensors["out"], (1, 1), *window),
                walk,
                groups,
                lo,
                hi,
                padded=True,
                config=config,
                capability=capability,
            )
        )
    return tuple(launches)


def conv_transpose2d_s8(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    stride: Pair,
    padding: Pair,
    output_padding: Pair,
    groups: int,
    dilation: Pair,
    lo: int = -128,
    hi: int = 127,
    *,
    out: Tensor,
    config: Config | None = None,
) -> Tensor:
    """Launch the kernel; arguments as of ``torch.ops.edgekit.conv_transpose2d_s8``.

    Args:
        x: int8 [N, I, H, W], of any strides; fast with channels innermost (``torch.channels_last``).
        weight: int8 [I, O / groups, kh, kw], a fan-in of at most 131,071.
        bias: int32 [O].
        multiplier: float32 [O].
        stride, padding, output_padding, dilation: of height and width.
        groups: divides I and O.
        lo, hi: bounds of the result.
        out: int8 [N, O, rows, columns], of any strides; its size holds the output padding.
        config: launch configuration; the heuristic's where it is not given.
    """
    launches = plan(
        x,
        weight,
        bias.contiguous(),
        multiplier.contiguous(),
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        lo,
        hi,
        out=out,
        config=config,
        capability=capability_of(x),
    )
    run(launches)
    return out
