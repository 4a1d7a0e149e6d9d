"""MobileNetV1 (Howard et al., 2017, arXiv:1704.04861), by default as in MLPerf Tiny's visual wake words benchmark."""

from __future__ import annotations

from torch import Tensor, nn

from edgekit.models.blocks import conv_norm, scaled, separable

# Channels at width 1 and stride of each separable convolution.
_LAYERS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


class MobileNetV1(nn.Module):
    """A strided 3x3 convolution, thirteen separable ones that halve the image four times, average pool, linear.

    Args:
        in_channels: of the images, [N, in_channels, H, W] with any H and W; 96 in the benchmark, 224 in the paper.
        classes: outputs, [N, classes].
        width: factor on all channels; 0.25 in the benchmark, 1 in the paper.
    """

    def __init__(self, in_channels: int = 3, classes: int = 2, width: float = 0.25) -> None:
        super().__init__()
        channels = scaled(32, width)
        self.stem = conv_norm(in_channels, channels, stride=2)
        layers = []
        for full, stride in _LAYERS:
            layers.append(separable(channels, scaled(full, width), stride))
            channels = scaled(full, width)
        self.body = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.classifier(self.pool(self.body(self.stem(x))).flatten(1))
        return logits
