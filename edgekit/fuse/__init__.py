"""From the quantised graph to integers, :func:`lower`; and products that do what follows them, :func:`join`."""

from edgekit.fuse.join import join
from edgekit.fuse.lower import Lowered, lower, lowered

__all__ = ["Lowered", "join", "lower", "lowered"]
