"""From fake-quantised to integer: :func:`lower` fuses each cell of a quantised graph into one integer operator, the golden."""

from edgekit.fuse.lower import lower

__all__ = ["lower"]
