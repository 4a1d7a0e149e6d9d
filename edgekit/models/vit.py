"""Vision transformer (Dosovitskiy et al., 2021, arXiv:2010.11929)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from edgekit.errors import ModelError
from edgekit.models.transformer import Block, positions


class ViT(nn.Module):
    """Square patches as steps behind a class step, transformer blocks, a linear layer on the class step.

    The paper's class vector is the same for every image and is added to the first position vector: here the two are
    one parameter, and the class step starts as zeros.

    Args:
        in_channels: of the images, [N, in_channels, size, size].
        classes: outputs, [N, classes].
        size: side of the images, a multiple of ``patch``.
        patch: side of a patch.
        width: features of one step.
        depth: blocks.
        heads: of attention.
        expansion: width of the feed-forward part in units of ``width``.
        dropout: behind the vectors and each branch.
    """

    def __init__(
        self,
        in_channels: int = 3,
        classes: int = 10,
        size: int = 32,
        patch: int = 4,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        expansion: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if size % patch:
            raise ModelError(f"size={size} cannot be cut into patches of {patch}.", fix="Take a multiple of patch.")
        self.patches = nn.Conv2d(in_channels, width, patch, stride=patch)
        self.position = positions((size // patch) ** 2 + 1, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(width, heads, expansion, dropout, norm_first=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        steps = functional.pad(self.patches(x).flatten(2).transpose(1, 2), (0, 0, 1, 0))
        steps = self.blocks(self.dropout(steps + self.position))
        logits: Tensor = self.classifier(self.norm(steps)[:, 0])
        return logits
