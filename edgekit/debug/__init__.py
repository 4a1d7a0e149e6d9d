"""Where the accuracy went: why each tensor is quantised or not, what each layer lost, and the cause."""

from edgekit.debug.diagnosis import Diagnosis, LayerError, diagnose
from edgekit.debug.difference import Comparison, Difference, compare
from edgekit.debug.placement import Explanation, Placement
from edgekit.debug.why import explain

__all__ = [
    "Comparison",
    "Diagnosis",
    "Difference",
    "Explanation",
    "LayerError",
    "Placement",
    "compare",
    "diagnose",
    "explain",
]
