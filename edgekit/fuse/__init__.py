"""From the quantised graph to integers: :func:`lower`, and what it cost."""

from edgekit.fuse.lower import Lowered, lower, lowered
from edgekit.fuse.sqnr import LayerError, layer_errors, sqnr_db

__all__ = ["LayerError", "Lowered", "layer_errors", "lower", "lowered", "sqnr_db"]
