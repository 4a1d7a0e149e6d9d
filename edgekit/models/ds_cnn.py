"""DS-CNN as in MLPerf Tiny's keyword spotting benchmark (Zhang et al., 2017, arXiv:1711.07128; arXiv:2106.07597)."""

from __future__ import annotations

from torch import Tensor, nn

from edgekit.models.blocks import separable


class DSCNN(nn.Module):
    """A strided 10x4 convolution, four separable ones, average pool, linear.

    The published net pads its 49 steps as TensorFlow does, 4 before and 5 behind; here it is 5 and 5, which a
    convolution can do by itself. The shapes are the same.

    Args:
        in_channels: of the spectrogram, [N, in_channels, steps, coefficients]; 49 steps of 10 MFCC in the benchmark.
        classes: outputs, [N, classes].
        width: channels of every convolution.
        dropout: behind the first convolution; in front of the linear layer it is twice that.
    """

    def __init__(self, in_channels: int = 1, classes: int = 12, width: int = 64, dropout: float = 0.2) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, (10, 4), stride=2, padding=(5, 1), bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.body = nn.Sequential(*(separable(width, width) for _ in range(4)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(2 * dropout), nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.classifier(self.pool(self.body(self.stem(x))).flatten(1))
        return logits
