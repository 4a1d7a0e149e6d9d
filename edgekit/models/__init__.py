"""Reference nets, small and published, and the one explicit way to a net of the user's own."""

from edgekit.models.build import build, create
from edgekit.models.catalogue import MODELS, names
from edgekit.models.examples import example, example_inputs
from edgekit.models.table import Row, describe, show, table

__all__ = ["MODELS", "Row", "build", "create", "describe", "example", "example_inputs", "names", "show", "table"]
