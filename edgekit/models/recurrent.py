"""Classifiers of a series by a GRU (Cho et al., 2014, arXiv:1406.1078) or LSTM (Hochreiter and Schmidhuber, 1997)."""

from __future__ import annotations

from torch import Tensor, nn


class RecurrentClassifier(nn.Module):
    """Recurrent layers and a linear layer on the last step.

    Args:
        layer: ``nn.GRU`` or ``nn.LSTM``.
        features: of one step, [N, T, features] with any T.
        classes: outputs, [N, classes].
        hidden: width of the state.
        depth: recurrent layers, one upon the other.
        dropout: between them.
    """

    def __init__(
        self, layer: type[nn.GRU] | type[nn.LSTM], features: int, classes: int, hidden: int, depth: int, dropout: float
    ) -> None:
        super().__init__()
        between = dropout if depth > 1 else 0.0  # torch warns of a dropout that never happens
        self.recurrent = layer(features, hidden, depth, batch_first=True, dropout=between)
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.classifier(self.recurrent(x)[0][:, -1])
        return logits


def gru_classifier(
    features: int = 10, classes: int = 12, hidden: int = 64, depth: int = 1, dropout: float = 0.1
) -> nn.Module:
    """Gated recurrent units; the arguments are those of :class:`RecurrentClassifier`."""
    return RecurrentClassifier(nn.GRU, features, classes, hidden, depth, dropout)


def lstm_classifier(
    features: int = 10, classes: int = 12, hidden: int = 64, depth: int = 1, dropout: float = 0.1
) -> nn.Module:
    """Long short-term memory; the arguments are those of :class:`RecurrentClassifier`."""
    return RecurrentClassifier(nn.LSTM, features, classes, hidden, depth, dropout)
