"""The one intermediate form: capture a model once, then every stage reads and returns a :class:`Graph`."""

from edgekit.graph.capture import capture
from edgekit.graph.graph import Graph, TensorInfo

__all__ = ["Graph", "TensorInfo", "capture"]
