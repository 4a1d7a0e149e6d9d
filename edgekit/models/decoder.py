"""A language model like GPT-2 (Radford et al., 2019, "Language models are unsupervised multitask learners")."""

from __future__ import annotations

from torch import Tensor, nn

from edgekit.models.transformer import Block, Embedding


class Decoder(nn.Module):
    """Token and position vectors, causal transformer blocks, a layer norm and the logits of the next token.

    GELU is the exact one; GPT-2 approximates it by tanh.

    Args:
        vocabulary: number of token ids; the output is [N, T, vocabulary].
        length: longest text in tokens; the input is [N, T], int64, T at most ``length``.
        width: features of one step.
        depth: blocks.
        heads: of attention.
        expansion: width of the feed-forward part in units of ``width``.
        dropout: behind the vectors and each branch.
        tied: the token vectors are the weights of the last layer too, as in the paper.
    """

    def __init__(
        self,
        vocabulary: int = 256,
        length: int = 64,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        expansion: int = 4,
        dropout: float = 0.1,
        tied: bool = True,
    ) -> None:
        super().__init__()
        self.embedding = Embedding(vocabulary, length, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(
            *(Block(width, heads, expansion, dropout, norm_first=True, causal=True) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.head.weight = self.embedding.token.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of the token behind each step."""
        x = self.blocks(self.dropout(self.embedding(tokens)))
        logits: Tensor = self.head(self.norm(x))
        return logits
