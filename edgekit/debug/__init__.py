"""Where the accuracy went: why each tensor is quantised or not, what each layer lost, and the cause."""

from edgekit.debug.placement import Explanation, Placement
from edgekit.debug.why import explain

__all__ = ["Explanation", "Placement", "explain"]
