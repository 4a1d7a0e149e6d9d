"""What encoder, decoder and vision transformer are made of (Vaswani et al., 2017, arXiv:1706.03762)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.errors import ModelError


class Attention(nn.Module):
    """Multi-head scaled dot-product self-attention. [N, T, width] to [N, T, width].

    Args:
        width: features of one step, a multiple of ``heads``.
        heads: that share the features.
        causal: a step sees itself and what came before it.
    """

    def __init__(self, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        if width % heads:
            raise ModelError(f"width={width} cannot be shared by heads={heads}.", fix="Take a multiple of heads.")
        self.heads = heads
        self.causal = causal
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend to the steps where ``mask`` (bool, broadcast to [N, heads, T, T]) is true, or to all."""
        query, key, value = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        y = functional.scaled_dot_product_attention(query, key, value, mask, is_causal=self.causal)
        attended: Tensor = self.output(y.transpose(1, 2).flatten(2))
        return attended

    def _split(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Attention and a feed-forward part, each with dropout, a skip and a layer norm. [N, T, width] to [N, T, width].

    Dropout stands on the branches alone: that on the attention weights is lost when attention is captured.

    Args:
        width, heads, causal: as in :class:`Attention`.
        expansion: width of the feed-forward part in units of ``width``.
        norm_first: the norms stand in front of the branches (GPT-2, ViT), not behind the sums (BERT).
        dropout: behind each branch.
    """

    def __init__(
        self, width: int, heads: int, expansion: int, dropout: float, norm_first: bool, causal: bool = False
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention = Attention(width, heads, causal)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width)
        )
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return what the steps have become; ``mask`` as in :class:`Attention`."""
        if self.norm_first:
            x = x + self.dropout(self.attention(self.norm1(x), mask))
            x = x + self.dropout(self.feed_forward(self.norm2(x)))
        else:
            x = self.norm1(x + self.dropout(self.attention(x, mask)))
            x = self.norm2(x + self.dropout(self.feed_forward(x)))
        return x


class Embedding(nn.Module):
    """Token ids [N, T], int64, to the sums of token and position vectors, [N, T, width]; T is at most ``length``."""

    def __init__(self, vocabulary: int, length: int, width: int) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = positions(length, width)
        nn.init.normal_(self.token.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the sums."""
        embedded: Tensor = self.token(tokens) + self.position[:, : tokens.shape[1]]
        return embedded


def positions(length: int, width: int) -> nn.Parameter:
    """Learned position vectors, [1, length, width], small at first as in BERT and GPT-2."""
    return nn.Parameter(torch.empty(1, length, width).normal_(std=0.02))
