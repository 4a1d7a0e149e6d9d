"""The textbook's first network, and the points on a surface from which it learns. All of the recipe `simple_nn`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


class SimpleNN(nn.Module):
    """Two inputs, ten hidden units, one output: [N, 2] to [N, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(2, 10)
        self.output = nn.Linear(10, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the height of the surface."""
        y: Tensor = self.output(torch.relu(self.hidden(x)))
        return y


def make(folder: Path, points: int = 400, seed: int = 0) -> None:
    """Write `folder/table.csv` with the columns x, y and z: a valley, z = |x| / 2 + y / 4, seen with a little noise."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-1, 1, (2, points))
    z = np.abs(x) / 2 + y / 4 + rng.normal(0, 0.02, points)
    rows = "".join(f"{a:.6f},{b:.6f},{c:.6f}\n" for a, b, c in zip(x, y, z, strict=True))
    (folder / "table.csv").write_text("x,y,z\n" + rows, "utf-8")
