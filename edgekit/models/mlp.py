"""A multilayer perceptron."""

from __future__ import annotations

from torch import nn


def mlp(inputs: int = 64, hidden: int = 64, classes: int = 10) -> nn.Module:
    """Two hidden layers with ReLU on the flattened item.

    Args:
        inputs: values of one item, [N, ...] to [N, inputs].
        hidden: width of both hidden layers.
        classes: outputs, [N, classes].
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, classes),
    )
