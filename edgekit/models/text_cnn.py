"""A convolutional text classifier after Kim (2014, arXiv:1408.5882), deep instead of wide."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


class TextCNN(nn.Module):
    """Token vectors, convolutions along the text that halve it each, the mean over what is left, linear.

    The paper reads the text with three widths of window side by side; here layers of one width stand on each other,
    which sees as far with fewer multiplications. Text is an image of height T and width 1, so that everything behind
    the vectors runs in integers.

    Args:
        vocabulary: number of token ids; 256 for bytes.
        length: tokens of a text, [N, length], int64; another length works as well.
        classes: outputs, [N, classes].
        dimension: of a token's vector.
        width: channels of every convolution.
        depth: convolutions.
        kernel: tokens that one convolution reads; odd.
        dropout: in front of the linear layer.
    """

    def __init__(
        self,
        vocabulary: int = 256,
        length: int = 128,
        classes: int = 5,
        dimension: int = 16,
        width: int = 64,
        depth: int = 3,
        kernel: int = 5,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.length = length
        self.embedding = nn.Embedding(vocabulary, dimension)
        channels = [dimension, *[width] * depth]
        self.body = nn.Sequential(*(_layer(before, after, kernel) for before, after in pairwise(channels)))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits."""
        x = self.embedding(tokens).transpose(1, 2).unsqueeze(3)
        logits: Tensor = self.classifier(self.body(x).mean((2, 3)))
        return logits


def _layer(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, (kernel, 1), padding=(kernel // 2, 0), bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d((2, 1)))
