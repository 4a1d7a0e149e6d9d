"""Scikit-learn's bundled handwritten digits."""

from __future__ import annotations

import numpy as np

from edgekit.data.split import Split
from edgekit.errors import MissingDependency


def digits() -> Split:
    """Return 1,797 handwritten digits, float32 [N, 1, 8, 8] from 0 to 1 in 16 levels; scikit-learn has UCI's set."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingDependency(
            "The digits come with scikit-learn, which is not installed.", fix="pip install 'edgekit[train]'"
        ) from error
    pixels, labels = load_digits(return_X_y=True)
    return Split(((pixels.reshape(-1, 1, 8, 8) / 16).astype(np.float32),), (labels.astype(np.int64),))
