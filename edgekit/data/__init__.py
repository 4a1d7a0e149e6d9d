"""Data sources, splits, the varied test set and the checks that every one of them passes."""

from edgekit.data.checks import check_calibration
from edgekit.data.dataset import Dataset, load
from edgekit.data.description import describe
from edgekit.data.findings import Finding
from edgekit.data.npz import npz_items
from edgekit.data.source import Source
from edgekit.data.split import Split
from edgekit.data.vary import augment, vary

__all__ = [
    "Dataset",
    "Finding",
    "Source",
    "Split",
    "augment",
    "check_calibration",
    "describe",
    "load",
    "npz_items",
    "vary",
]
