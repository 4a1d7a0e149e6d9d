"""Nodes that go together, such as all that share one scale."""

from __future__ import annotations

from torch import fx


class Groups:
    """Disjoint sets of nodes; the first member of the first set of those joined stands for it."""

    def __init__(self) -> None:
        self._parent: dict[fx.Node, fx.Node] = {}

    def add(self, node: fx.Node) -> bool:
        """Take in a node as a set of its own; False if it is in one already."""
        new = node not in self._parent
        self._parent.setdefault(node, node)
        return new

    def find(self, node: fx.Node) -> fx.Node:
        """The node that stands for the set of ``node``."""
        while self._parent[node] is not node:
            node = self._parent[node]
        return node

    def join(self, first: fx.Node, second: fx.Node) -> None:
        """Make one set of those of two nodes."""
        self._parent[self.find(second)] = self.find(first)

    def members(self) -> list[fx.Node]:
        """Every node, in the order of coming."""
        return list(self._parent)
