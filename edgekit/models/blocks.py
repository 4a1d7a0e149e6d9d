"""What several convolutional nets are made of."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from edgekit.errors import ModelError


def conv_norm(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    activation: Callable[[], nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """Convolution, batch norm and activation: [N, inputs, H, W] to [N, outputs, H / stride, W / stride], rounded up.

    The convolution has no bias, since the one of the batch norm behind it does the same.
    """
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    layers = [convolution, nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers) if activation is None else nn.Sequential(*layers, activation())


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution in each channel, then a 1x1 convolution across them, each with batch norm and ReLU.

    [N, inputs, H, W] to [N, outputs, H / stride, W / stride], rounded up.
    """
    return nn.Sequential(
        conv_norm(inputs, inputs, stride=stride, groups=inputs),
        conv_norm(inputs, outputs, kernel=1),
    )


def scaled(channels: int, width: float) -> int:
    """``channels * width`` as the nearest multiple of 8 that is at least 8 and no less than 90 % of it.

    The rule of MobileNetV2's reference code; hardware likes channels in eights.

    Raises:
        ModelError: ``width`` is not above 0.
    """
    if not width > 0:
        raise ModelError(f"width={width} leaves no channels.", fix="Give a factor above 0, usually at most 1.")
    nearest = max(8, int(channels * width + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels * width else nearest + 8
