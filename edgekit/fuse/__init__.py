"""From fake-quantised to integer: :func:`lower` fuses each cell into one integer operator, the golden."""

from edgekit.fuse.lower import lower
from edgekit.fuse.sqnr import LayerError, layer_errors, sqnr_db

__all__ = ["LayerError", "layer_errors", "lower", "sqnr_db"]
