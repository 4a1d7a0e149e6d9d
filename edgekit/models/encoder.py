"""A text classifier like BERT (Devlin et al., 2019, arXiv:1810.04805)."""

from __future__ import annotations

from torch import Tensor, nn

from edgekit.models.transformer import Block, Embedding


class Encoder(nn.Module):
    """Token and position vectors, transformer blocks, and on the first step BERT's pooler and a linear layer.

    Without BERT's vectors for the first and second sentence.

    Args:
        vocabulary: number of token ids.
        length: longest text in tokens; the input is [N, T], int64, T at most ``length``.
        classes: outputs, [N, classes].
        width: features of one step.
        depth: blocks.
        heads: of attention.
        expansion: width of the feed-forward part in units of ``width``.
        dropout: behind the vectors and each branch.
        padding: the token id that fills a text up and that no step attends to; none by default.
    """

    def __init__(
        self,
        vocabulary: int = 256,
        length: int = 64,
        classes: int = 2,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        expansion: int = 4,
        dropout: float = 0.1,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        self.padding = padding
        self.embedding = nn.Sequential(Embedding(vocabulary, length, width), nn.LayerNorm(width), nn.Dropout(dropout))
        self.blocks = nn.ModuleList(Block(width, heads, expansion, dropout, norm_first=False) for _ in range(depth))
        self.pooler = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Dropout(dropout))
        self.classifier = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits."""
        mask = None if self.padding is None else (tokens != self.padding)[:, None, None]
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, mask)
        logits: Tensor = self.classifier(self.pooler(x[:, 0]))
        return logits
