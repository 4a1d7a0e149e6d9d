"""A temporal convolutional network (Bai et al., 2018, arXiv:1803.01271), batch norm in place of weight norm."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class TemporalBlock(nn.Module):
    """Two dilated convolutions that see only the past, and a skip. [N, inputs, T] to [N, outputs, T].

    Batch norm can be folded into the weights for inference, as the paper's weight norm can.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *_causal(inputs, outputs, kernel, dilation, dropout),
            *_causal(outputs, outputs, kernel, dilation, dropout),
        )
        self.skip = nn.Identity() if inputs == outputs else nn.Conv1d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(branch + skip)."""
        return functional.relu(self.branch(x) + self.skip(x))


def _causal(inputs: int, outputs: int, kernel: int, dilation: int, dropout: float) -> list[nn.Module]:
    return [
        nn.ZeroPad1d(((kernel - 1) * dilation, 0)),
        nn.Conv1d(inputs, outputs, kernel, dilation=dilation, bias=False),
        nn.BatchNorm1d(outputs),
        nn.ReLU(),
        nn.Dropout(dropout),
    ]


class TCN(nn.Module):
    """Temporal blocks with dilation 1, 2, 4, ..., and a linear layer on the last step.

    Args:
        in_channels: of the series, [N, in_channels, T] with any T; 1 + 2 (kernel - 1) (2^depth - 1) steps count.
        classes: outputs, [N, classes].
        width: channels of every block.
        depth: blocks.
        kernel: steps that one convolution reads.
        dropout: behind every convolution.
    """

    def __init__(
        self,
        in_channels: int = 8,
        classes: int = 4,
        width: int = 32,
        depth: int = 4,
        kernel: int = 3,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(TemporalBlock(width if i else in_channels, width, kernel, 2**i, dropout) for i in range(depth))
        )
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.classifier(self.body(x)[..., -1])
        return logits
