"""ResNet-8 as in MLPerf Tiny's image classification benchmark (Banbury et al., 2021, arXiv:2106.07597)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class ResidualStack(nn.Module):
    """Two 3x3 convolutions and a skip, which is a 1x1 convolution where the shape changes.

    [N, inputs, H, W] to [N, outputs, H / stride, W / stride], rounded up.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(branch + skip)."""
        y = functional.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return functional.relu(y + self.skip(x))


class ResNet8(nn.Module):
    """A stem, three residual stacks of ``width``, 2 and 4 times ``width`` channels, global average pool, linear.

    Args:
        in_channels: of the images, [N, in_channels, H, W] with H and W at least 4.
        classes: outputs, [N, classes].
        width: channels of the first stack; 16 in the benchmark.
    """

    def __init__(self, in_channels: int = 3, classes: int = 10, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.stack1 = ResidualStack(width, width, stride=1)
        self.stack2 = ResidualStack(width, 2 * width, stride=2)
        self.stack3 = ResidualStack(2 * width, 4 * width, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = functional.relu(self.norm(self.stem(x)))
        x = self.stack3(self.stack2(self.stack1(x)))
        logits: Tensor = self.classifier(self.pool(x).flatten(1))
        return logits
