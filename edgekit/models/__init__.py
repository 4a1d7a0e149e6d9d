"""Small reference nets, and the one explicit way to a net of the user's own."""

from edgekit.models.build import build, create, names

__all__ = ["build", "create", "names"]
