"""The autoencoder of MLPerf Tiny's anomaly detection benchmark (Koizumi et al., 2020, arXiv:2006.05822; 2106.07597)."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def autoencoder(inputs: int = 640, hidden: int = 128, code: int = 8, depth: int = 4) -> nn.Module:
    """``depth`` layers down to a code and as many up again, each with batch norm and ReLU, then one linear layer.

    What it cannot rebuild is unlike what it was trained on: the mean squared error is the anomaly score.

    Args:
        inputs: values of one item, [N, inputs] to [N, inputs]; five frames of 128 log-mel bands in the benchmark.
        hidden: width of the layers on both sides.
        code: width of the layer between them.
        depth: layers on each side.
    """
    widths = [inputs, *[hidden] * depth, code, *[hidden] * depth]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden, inputs))
