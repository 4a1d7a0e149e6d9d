"""ResNet-18 and ResNet-50 (He et al., 2016, arXiv:1512.03385), the stride on the 3x3 convolution as in torchvision."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from edgekit.models.blocks import conv_norm


class Residual(nn.Module):
    """relu(branch + skip); the skip is a 1x1 convolution with batch norm where the shape changes.

    [N, inputs, H, W] to [N, outputs, H / stride, W / stride], rounded up.
    """

    def __init__(self, branch: nn.Module, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        same = stride == 1 and inputs == outputs
        self.branch = branch
        self.skip = nn.Identity() if same else conv_norm(inputs, outputs, 1, stride, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum, never negative."""
        return functional.relu(self.branch(x) + self.skip(x))


def basic(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Two 3x3 convolutions beside a skip."""
    branch = nn.Sequential(conv_norm(inputs, outputs, 3, stride), conv_norm(outputs, outputs, activation=None))
    return Residual(branch, inputs, outputs, stride)


def bottleneck(inputs: int, outputs: int, stride: int) -> nn.Module:
    """A 3x3 convolution on a quarter of the channels, between 1x1 convolutions, beside a skip."""
    middle = outputs // 4
    branch = nn.Sequential(
        conv_norm(inputs, middle, 1),
        conv_norm(middle, middle, 3, stride),
        conv_norm(middle, outputs, 1, activation=None),
    )
    return Residual(branch, inputs, outputs, stride)


class ResNet(nn.Module):
    """A 7x7 stem with max pool, four stages that halve the image and double the channels, average pool, linear.

    Args:
        deep: the blocks are bottlenecks, with 4 times the channels, instead of basic ones.
        depths: blocks in each of the four stages.
        in_channels: of the images, [N, in_channels, H, W] with any H and W.
        classes: outputs, [N, classes].
        width: channels behind the stem; 64 in the paper.
    """

    def __init__(self, deep: bool, depths: tuple[int, ...], in_channels: int, classes: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_norm(in_channels, width, 7, 2), nn.MaxPool2d(3, 2, padding=1))
        block, expansion = (bottleneck, 4) if deep else (basic, 1)
        blocks, channels = [], width
        for stage, depth in enumerate(depths):
            outputs = width * expansion * 2**stage
            for index in range(depth):
                blocks.append(block(channels, outputs, stride=2 if stage and index == 0 else 1))
                channels = outputs
        self.body = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.classifier(self.pool(self.body(self.stem(x))).flatten(1))
        return logits


def resnet18(in_channels: int = 3, classes: int = 1000, width: int = 64) -> nn.Module:
    """Eight basic blocks; the arguments are those of :class:`ResNet`."""
    return ResNet(False, (2, 2, 2, 2), in_channels, classes, width)


def resnet50(in_channels: int = 3, classes: int = 1000, width: int = 64) -> nn.Module:
    """Sixteen bottlenecks; the arguments are those of :class:`ResNet`."""
    return ResNet(True, (3, 4, 6, 3), in_channels, classes, width)
