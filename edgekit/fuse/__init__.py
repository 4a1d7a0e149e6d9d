"""From the quantised graph to integers: :func:`lower`."""

from edgekit.fuse.lower import Lowered, lower, lowered

__all__ = ["Lowered", "lower", "lowered"]
