"""MobileNetV2 (Sandler et al., 2018, arXiv:1801.04381)."""

from __future__ import annotations

from torch import Tensor, nn

from edgekit.models.blocks import conv_norm, scaled

# Table 2 of the paper: expansion, channels at width 1, blocks, stride of the first block.
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class InvertedResidual(nn.Module):
    """Widen by a 1x1 convolution, 3x3 in each channel, narrow without activation; a skip where the shape stays.

    [N, inputs, H, W] to [N, outputs, H / stride, W / stride], rounded up.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        widen = [] if expansion == 1 else [conv_norm(inputs, middle, 1, activation=nn.ReLU6)]
        self.branch = nn.Sequential(
            *widen,
            conv_norm(middle, middle, 3, stride, groups=middle, activation=nn.ReLU6),
            conv_norm(middle, outputs, 1, activation=None),
        )
        self.has_skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return branch, or branch + x."""
        y: Tensor = self.branch(x)
        return x + y if self.has_skip else y


class MobileNetV2(nn.Module):
    """A strided 3x3 convolution, seventeen inverted residuals, a 1x1 convolution, average pool, dropout, linear.

    Args:
        in_channels: of the images, [N, in_channels, H, W] with any H and W; 224 in the paper.
        classes: outputs, [N, classes].
        width: factor on all channels; that of the last convolution only grows.
        dropout: in front of the linear layer.
    """

    def __init__(self, in_channels: int = 3, classes: int = 1000, width: float = 1.0, dropout: float = 0.2) -> None:
        super().__init__()
        channels, last = scaled(32, width), scaled(1280, max(1.0, width))
        self.stem = conv_norm(in_channels, channels, stride=2, activation=nn.ReLU6)
        blocks = []
        for expansion, full, depth, stride in _STAGES:
            for index in range(depth):
                blocks.append(InvertedResidual(channels, scaled(full, width), 1 if index else stride, expansion))
                channels = scaled(full, width)
        self.body = nn.Sequential(*blocks, conv_norm(channels, last, 1, activation=nn.ReLU6))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.classifier(self.pool(self.body(self.stem(x))).flatten(1))
        return logits
