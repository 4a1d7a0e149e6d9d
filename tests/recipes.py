"""Tiny recipes and user projects for tests of whole runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

TINY = """\
name: tiny
threads: 1
data: {source: items.npz, test_fraction: 0.4, varied: {items: 100}}
model: {name: mlp, args: {hidden: 12}}
train: {epochs: 3, learning_rate: 0.1, batch_size: 32}
prune: {ratio: 0.5, recover: {epochs: 2, learning_rate: 0.05, batch_size: 32}}
quantize: {calibration_samples: 64}
export: {targets: [onnxruntime, tensorrt-10]}
bench: {warmup: 2, warmup_seconds: 0, min_samples: 10, min_seconds: 0.05}
gates: {max_drop: 100}
"""

RESIDUAL = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.body = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.body(x) + x)
        return self.head(x.mean((2, 3)))


def build():
    return Net()


def spoilt():
    net = Net()
    net.head.weight.data[3, 2] = float("nan")
    return net


def branching():
    class Branching(Net):
        def forward(self, x):
            if x.sum() > 0:
                x = -x
            return super().forward(x)

    return Branching()
"""


def items(count: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images [count, 1, 8, 8] in [0, 1] of ten classes, each a bright spot at a place of its own."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 10
    x = rng.random((count, 1, 8, 8)).astype(np.float32) * 0.2
    x[np.arange(count), 0, 1 + y // 5 * 3, 1 + y % 5] += 0.8
    return x, y.astype(np.int64)


def project(folder: Path, text: str = TINY) -> Path:
    """A recipe file with its data and a model file beside it; returns the recipe's path."""
    x, y = items()
    np.savez(folder / "items.npz", x=x, y=y)
    (folder / "net.py").write_text(RESIDUAL)
    recipe = folder / "recipe.yaml"
    recipe.write_text(text)
    return recipe
