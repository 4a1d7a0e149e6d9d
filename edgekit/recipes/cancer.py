"""The table for the recipe `cancer`: scikit-learn's breast cancer data, measured in Wisconsin (Street et al. 1993)."""

from __future__ import annotations

from pathlib import Path

from sklearn.datasets import load_breast_cancer


def make(folder: Path) -> None:
    """Write `folder/table.csv`: thirty measurements of cell nuclei in a column each, and `diagnosis` in words."""
    data = load_breast_cancer()
    header = [*(name.replace(" ", "_") for name in data.feature_names), "diagnosis"]
    pairs = zip(data.data.tolist(), data.target_names[data.target], strict=True)
    rows = [[*map(repr, values), word] for values, word in pairs]
    (folder / "table.csv").write_text("".join(",".join(row) + "\n" for row in [header, *rows]), "utf-8")
